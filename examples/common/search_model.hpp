// The model that the vectors of an index are of: found by its settings, and put to passages.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/progress.hpp>
#include <nibble/core/thread_pool.hpp>
#include <nibble/dispatch/dispatch.hpp>
#include <nibble/search/binary_index.hpp>

#include "common/passage_folder.hpp"
#include "common/report.hpp"
#include "common/text_embedder.hpp"

namespace nibble::example {

/// Throws Error where a model's vectors have no such number of dimensions.
inline void check_dims(const TextEmbedder& model, Index dims) {
  if (dims < 1 || dims > model.dims()) {
    fail("dims: expected 1 to ", model.dims(), ", found ", dims);
  }
}

/// The model that a folder's vectors are of. Throws Error, naming the settings.
[[nodiscard]] inline TextEmbedder load_model(const PassageFolder& folder, const BinaryIndex& index,
                                             ThreadPool& pool, const Progress& progress) {
  const EmbedSettings& settings = folder.settings();
  try {
    TextEmbedder model(settings.model, settings.pooling, pool, progress);
    check_dims(model, settings.dims);
    if (settings.dims != index.parameters().dims) {
      fail("dims: ", settings.dims, ", the index has ", index.parameters().dims);
    }
    return model;
  } catch (const Cancelled&) {
    throw;
  } catch (const Error& error) {
    fail(path_text(folder.settings_path()), ": ", error.what());
  }
}

/// The vectors of passages, of length 1. Throws Error, Cancelled.
[[nodiscard]] inline Matrix embed(const TextEmbedder& model, Index dims,
                                  std::span<const Passage> passages, ThreadPool& pool,
                                  const Progress& progress) {
  std::vector<std::string_view> texts;
  for (const Passage& passage : passages) texts.push_back(passage.text);
  return model.embed(texts, dims, pool, progress);
}

/// The first fields of the JSON of what used a model.
[[nodiscard]] inline Json describe_search(const std::string& model, ThreadPool& pool) {
  Json json = describe_run("nibble-search", model, pool);
  json["search_isa"] = dispatch::best_search().isa;
  return json;
}

}  // namespace nibble::example
