#include "common/search_bits.hpp"

#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>

#include <nibble/core/error.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/search/binary_index.hpp>
#include <nibble/search/packed_bits_file.hpp>

#include "common/passage_folder.hpp"
#include "common/report.hpp"

namespace nibble::example {

void run_export(const SearchArguments& options) {
  const PassageFolder folder(options.folder);
  const BinaryIndex index = BinaryIndex::open(folder.index_path());
  const std::filesystem::path file = options.file;
  const ByteMatrix bits = index.sign_bits();
  if (file.extension() == ".npy") {
    write_npy_bits(file, bits);
  } else if (file.extension() == ".faiss") {
    write_faiss_binary_flat(file, bits);
  } else {
    fail(options.file, ": expected a name that ends with .npy or .faiss");
  }
  const std::string ids_file = options.file + ".ids";
  std::string lines;
  for (const std::uint64_t id : index.ids()) lines += std::to_string(id) + "\n";
  write_text_file(ids_file, lines);
  if (options.common.json) {
    std::cout << json_text({{"program", "nibble-search"},
                            {"index", options.folder},
                            {"file", options.file},
                            {"ids", ids_file},
                            {"passages", index.size()},
                            {"dims", index.parameters().dims}});
  } else {
    std::cout << options.file << ": the bits of " << index.size() << " passages, whose ids are in "
              << ids_file << "\n";
  }
}

}  // namespace nibble::example
