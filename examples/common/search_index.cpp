#include "common/search_index.hpp"

#include <cstdint>
#include <filesystem>
#include <iostream>
#include <set>
#include <system_error>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/dispatch/dispatch.hpp>

#include "common/console.hpp"
#include "common/numbers.hpp"
#include "common/report.hpp"
#include "common/search_model.hpp"
#include "common/text_embedder.hpp"

namespace nibble::example {

std::vector<Passage> read_texts(const std::vector<std::string>& files) {
  if (!files.empty()) return read_passages(files);
  std::error_code code;
  if (!std::filesystem::exists(shipped_text, code)) {
    fail(shipped_text, ": no such file from here; name a TEXT");
  }
  return read_passages({shipped_text});
}

BinaryIndex make_index(const SearchArguments& options, const Matrix& vectors, ThreadPool& pool,
                       const Progress& progress) {
  IndexParameters parameters = fit_index(vectors, options.bits, options.kept.value());
  if (options.lists > 0) {
    parameters = with_lists(std::move(parameters), vectors, options.lists, pool, progress,
                            dispatch::best_search());
  }
  return BinaryIndex(std::move(parameters));
}

void report_index(const SearchArguments& options, const std::string& model,
                  const BinaryIndex& index, std::size_t added, double seconds, ThreadPool& pool,
                  std::optional<double> agreement) {
  if (options.common.json) {
    Json json = describe_search(model, pool);
    json["index"] = options.folder;
    json["added"] = added;
    json["passages"] = index.size();
    json["dims"] = index.parameters().dims;
    json["bits"] = index.parameters().code_bits;
    json["bytes"] = index.bytes();
    json["seconds"] = seconds;
    if (agreement) json["agreement"] = *agreement;
    std::cout << json_text(json);
  } else {
    std::cout << options.folder << ": " << added << " passages added, " << index.size()
              << " in all, " << megabytes(index.bytes()) << " MB\n";
    if (agreement) {
      std::cout << fixed(100 * *agreement, 1) << " % of the bits of a few passages are those that "
                << model << " gives (50 %: by chance)\n";
    }
  }
}

void run_index(const SearchArguments& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const Stopwatch stopwatch;
  NewPassageFolder made(options.folder);
  const std::vector<Passage> passages = read_texts(options.files);
  const TextEmbedder model(options.model, options.pooling, pool, console.loading());
  const Index dims = options.dims == 0 ? model.dims() : options.dims;
  const Matrix vectors = embed(model, dims, passages, pool, console.progress());
  BinaryIndex index = make_index(options, vectors, pool, console.progress());
  const PassageFolder folder(made.path(), {options.model, options.pooling, dims});
  index.add(folder.append(passages), vectors, pool, dispatch::best_search(), console.progress());
  index.save(folder.index_path(), console.progress());
  made.commit();
  report_index(options, options.model, index, passages.size(), stopwatch.seconds(), pool);
}

void run_add(const SearchArguments& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const Stopwatch stopwatch;
  const PassageFolder folder(options.folder, Access::Write);
  BinaryIndex index = BinaryIndex::open(folder.index_path());
  const EmbedSettings& settings = folder.settings();
  const std::vector<Passage> passages = read_passages(options.files);
  const TextEmbedder model = load_model(folder, index, pool, console.loading());
  const Matrix vectors = embed(model, settings.dims, passages, pool, console.progress());
  index.add(folder.append(passages), vectors, pool, dispatch::best_search(), console.progress());
  index.commit();
  report_index(options, path_text(settings.model), index, passages.size(), stopwatch.seconds(),
               pool);
}

void run_remove(const SearchArguments& options) {
  const PassageFolder folder(options.folder, Access::Write);
  BinaryIndex index = BinaryIndex::open(folder.index_path());
  Index removed = 0;
  for (const std::uint64_t id : std::set(options.ids.begin(), options.ids.end())) {
    if (index.remove({&id, 1}) == 0) fail("ID ", id, ": ", options.folder, " has no such passage");
    ++removed;
  }
  if (!options.source.empty()) {
    const Index of_source = index.remove(folder.ids_of(options.source, index.ids()));
    if (of_source == 0) fail("--source ", options.source, ": ", options.folder, " has none of it");
    removed += of_source;
  }
  if (removed == 0) fail("remove: expected an ID or --source, found neither");
  index.commit();
  if (options.common.json) {
    std::cout << json_text({{"program", "nibble-search"},
                            {"index", options.folder},
                            {"removed", removed},
                            {"passages", index.size()}});
  } else {
    std::cout << options.folder << ": " << removed << " passages removed, " << index.size()
              << " left\n";
  }
}

void run_compact(const SearchArguments& options) {
  Console console;
  const PassageFolder folder(options.folder, Access::Write);
  const BinaryIndex index = BinaryIndex::open(folder.index_path());
  const auto file_bytes = [&] { return std::filesystem::file_size(folder.index_path()); };
  const std::uintmax_t before = file_bytes();
  index.save(folder.index_path(), console.progress());
  if (options.common.json) {
    std::cout << json_text({{"program", "nibble-search"},
                            {"index", options.folder},
                            {"passages", index.size()},
                            {"bytes_before", before},
                            {"bytes", file_bytes()}});
  } else {
    std::cout << options.folder << ": " << megabytes(before) << " MB before, "
              << megabytes(file_bytes()) << " MB now\n";
  }
}

void run_verify(const SearchArguments& options) {
  Console console;
  const PassageFolder folder(options.folder);
  const Stopwatch stopwatch;
  const BinaryIndex index = BinaryIndex::verify(folder.index_path(), console.progress());
  folder.verify(index.ids(), console.progress());
  if (options.common.json) {
    std::cout << json_text({{"program", "nibble-search"},
                            {"index", options.folder},
                            {"passages", index.size()},
                            {"bytes", index.bytes()},
                            {"seconds", stopwatch.seconds()}});
  } else {
    std::cout << options.folder << ": " << index.size()
              << " passages are there, all checksums hold\n";
  }
}

}  // namespace nibble::example
