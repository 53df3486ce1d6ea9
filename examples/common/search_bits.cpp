#include "common/search_bits.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/progress.hpp>
#include <nibble/core/thread_pool.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/search/binary_index.hpp>
#include <nibble/search/packed_bits_file.hpp>

#include "common/console.hpp"
#include "common/passage_folder.hpp"
#include "common/report.hpp"
#include "common/search_index.hpp"
#include "common/search_model.hpp"
#include "common/text_embedder.hpp"

namespace nibble::example {
namespace {

/// Whether a file of bits is one of FAISS, else of numpy. Throws Error for the name of neither.
bool is_faiss_file(const std::string& file) {
  const std::filesystem::path extension = std::filesystem::path(file).extension();
  if (extension != ".npy" && extension != ".faiss") {
    fail(file, ": expected a name that ends with .npy or .faiss");
  }
  return extension == ".faiss";
}

ByteMatrix read_bits(const std::string& file) {
  ByteMatrix bits = is_faiss_file(file) ? read_faiss_binary_flat(file) : read_npy_bits(file);
  if (bits.rows() == 0) fail(file, ": holds no rows");
  return bits;
}

/// A passage for each row: those of --texts, or else the rows' numbers.
std::vector<Passage> row_passages(const SearchArguments& options, Index rows) {
  std::vector<Passage> passages;
  if (options.texts.empty()) {
    check_source(options.file);
    for (Index row = 0; row < rows; ++row) passages.push_back({options.file, concat("row ", row)});
    return passages;
  }
  passages = read_passage_lines(options.texts);
  if (static_cast<Index>(passages.size()) != rows) {
    fail(options.texts, ": holds ", passages.size(), " passages, expected ", rows,
         ", one for each row of ", options.file);
  }
  return passages;
}

/// The dimensions that the rows are of. Throws Error where they are not those of the model.
Index row_dims(const SearchArguments& options, const TextEmbedder& model, const ByteMatrix& bits) {
  const Index dims = options.dims == 0 ? model.dims() : options.dims;
  check_dims(model, dims);
  if (sign_bytes(dims) != bits.cols()) {
    fail(options.file, ": rows of ", 8 * bits.cols(), " bits, expected ", 8 * sign_bytes(dims),
         " for ", dims, " dimensions of ", options.model, "; --model and --dims name others");
  }
  return dims;
}

/// The share of the bits that are those the model gives, of 16 passages from all over the file.
double measure_agreement(const TextEmbedder& model, Index dims,
                         const std::vector<Passage>& passages, const ByteMatrix& bits,
                         ThreadPool& pool, const Progress& progress) {
  const Index count = std::min(bits.rows(), Index{16});
  std::vector<Index> rows;
  std::vector<Passage> sample;
  for (Index i = 0; i < count; ++i) {
    rows.push_back(i * bits.rows() / count);
    sample.push_back(passages[static_cast<std::size_t>(rows.back())]);
  }
  const ByteMatrix given = pack_signs(embed(model, dims, sample, pool, progress));
  Index different = 0;
  for (Index i = 0; i < count; ++i) {
    for (Index byte = 0; byte < bits.cols(); ++byte) {
      const int changed = bits(rows[static_cast<std::size_t>(i)], byte) ^ given(i, byte);
      different += std::popcount(static_cast<unsigned>(changed));
    }
  }
  return 1 - static_cast<double>(different) / static_cast<double>(count * dims);
}

}  // namespace

void run_export(const SearchArguments& options) {
  const PassageFolder folder(options.folder);
  const BinaryIndex index = BinaryIndex::open(folder.index_path());
  const ByteMatrix bits = index.sign_bits();
  if (is_faiss_file(options.file)) {
    write_faiss_binary_flat(options.file, bits);
  } else {
    write_npy_bits(options.file, bits);
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

void run_import(const SearchArguments& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const Stopwatch stopwatch;
  NewPassageFolder made(options.folder);
  const ByteMatrix bits = read_bits(options.file);
  const std::vector<Passage> passages = row_passages(options, bits.rows());
  const TextEmbedder model(options.model, options.pooling, pool, console.loading());
  const Index dims = row_dims(options, model, bits);
  std::optional<double> agreement;
  if (!options.texts.empty()) {
    agreement = measure_agreement(model, dims, passages, bits, pool, console.progress());
  }
  IndexParameters parameters;
  parameters.dims = dims;
  parameters.code_bits = 0;
  parameters.kept = KeptVectors::None;
  BinaryIndex index(parameters);
  const PassageFolder folder(made.path(), {options.model, options.pooling, dims});
  const std::vector<std::uint64_t> ids = folder.append(passages);
  try {
    index.add_bits(ids, bits);
  } catch (const Error& error) {
    fail(options.file, ": ", error.what());
  }
  index.save(folder.index_path(), console.progress());
  made.commit();
  report_index(options, options.model, index, passages.size(), stopwatch.seconds(), pool,
               agreement);
}

}  // namespace nibble::example
