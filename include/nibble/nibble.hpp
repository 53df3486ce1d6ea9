// All of nibble, in reading order.
#pragma once

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/executor.hpp>
#include <nibble/core/fingerprint.hpp>
#include <nibble/core/function_ref.hpp>
#include <nibble/core/half.hpp>
#include <nibble/core/matrix.hpp>
#include <nibble/core/progress.hpp>
#include <nibble/core/random.hpp>
#include <nibble/core/reporting_executor.hpp>
#include <nibble/core/spin.hpp>
#include <nibble/core/thread_pool.hpp>
#include <nibble/core/version.hpp>

#include <nibble/simd/simd.hpp>

#include <nibble/format/any_matrix.hpp>
#include <nibble/format/error_statistics.hpp>
#include <nibble/format/formats.hpp>
#include <nibble/format/pack_rows.hpp>
#include <nibble/format/quantized_matrix.hpp>
#include <nibble/format/weight_source.hpp>

#include <nibble/kernels/kernel_table.hpp>
#include <nibble/kernels/search_kernels.hpp>

#include <nibble/quantize/allocate_bits.hpp>
#include <nibble/quantize/gram.hpp>
#include <nibble/quantize/grids.hpp>
#include <nibble/quantize/quantize_matrix.hpp>
#include <nibble/quantize/quantize_plain.hpp>
#include <nibble/quantize/quantizers.hpp>
#include <nibble/quantize/round_to_nearest.hpp>

#include <nibble/nn/attention_layer.hpp>
#include <nibble/nn/embedding.hpp>
#include <nibble/nn/execution.hpp>
#include <nibble/nn/feed_forward.hpp>
#include <nibble/nn/kv_cache.hpp>
#include <nibble/nn/linear.hpp>
#include <nibble/nn/rms_norm.hpp>
#include <nibble/nn/rope.hpp>

#include <nibble/io/atomic_directory.hpp>
#include <nibble/io/file_lock.hpp>
#include <nibble/io/json.hpp>
#include <nibble/io/mapped_file.hpp>
#include <nibble/io/safetensors.hpp>
#include <nibble/io/safetensors_writer.hpp>
#include <nibble/io/scratch_file.hpp>
#include <nibble/io/sharded_safetensors.hpp>

#include <nibble/text/encode_first.hpp>
#include <nibble/text/stream_decoder.hpp>
#include <nibble/text/tokenizer.hpp>

#include <nibble/search/binary_index.hpp>
#include <nibble/search/index_parameters.hpp>
#include <nibble/search/kmeans.hpp>
#include <nibble/search/packed_bits_file.hpp>
#include <nibble/search/passages.hpp>
#include <nibble/search/rabitq.hpp>
#include <nibble/search/scalar_codes.hpp>
#include <nibble/search/static_embedding.hpp>

#include <nibble/model/bit_budget.hpp>
#include <nibble/model/calibrate.hpp>
#include <nibble/model/decoder.hpp>
#include <nibble/model/embed_texts.hpp>
#include <nibble/model/evaluate.hpp>
#include <nibble/model/generate.hpp>
#include <nibble/model/generation_config.hpp>
#include <nibble/model/model_config.hpp>
#include <nibble/model/model_folder.hpp>
#include <nibble/model/quantize_model.hpp>
#include <nibble/model/recipe.hpp>
#include <nibble/model/sampler.hpp>
#include <nibble/model/session.hpp>
