// Attention of many queries over the keys of a source: the encoder's own, and the decoder's over the encoded source.
//
// numerics.quantized_attention: queries and keys are multiplied, the softmax is PyTorch's bit by bit, the values' scales are folded
// into the probabilities, which are quantized and weigh the values. The scores of some queries of one head are in memory at a
// time. A block holds the keys and values of one source in one layer:
//
//   keys          uint8 [heads, padded / 16, width / 4, 16, 4]   code + 128: a vector has 4 of the width of 16 keys
//   values        int8  [heads, padded / 4, width, 4]            a vector has 16 of the width of 4 keys
//   key scales    float [heads, padded]
//   value scales  float [heads, padded]
//
// `padded` is the source's length and `width` a head's, each rounded up to 16; what is beyond holds zeros.
#include <algorithm>
#include <limits>

#include "codes.h"
#include "products.h"
#include "team.h"
#include "torch_functions.h"

using namespace dqbart;

namespace {

constexpr int kTile = 8;           // queries in registers
constexpr int64_t kTogether = 32;  // queries whose scores are in memory together, in the second-level cache

struct Shape {
  int64_t heads, width, padded_width;
  Shape(int64_t heads, int64_t width) : heads(heads), width(width), padded_width(round_up(width, 16)) {}
};

struct Block {
  int64_t padded;
  uint8_t* keys;
  int8_t* values;
  float* key_scale;
  float* value_scale;
  Block(uint8_t* memory, const Shape& shape, int64_t length) : padded(round_up(length, 16)) {
    const int64_t codes = shape.heads * padded * shape.padded_width;
    keys = memory;
    values = reinterpret_cast<int8_t*>(memory + codes);
    key_scale = reinterpret_cast<float*>(memory + 2 * codes);
    value_scale = key_scale + shape.heads * padded;
  }
};

// Calls tile<TOKENS>(first) so that all of `count` rows are covered.
template <typename Tile>
inline void in_tiles(int64_t count, const Tile& tile) {
  int64_t first = 0;
  for (; count - first >= kTile; first += kTile) tile(std::integral_constant<int, kTile>(), first);
  for (; count - first >= 4; first += 4) tile(std::integral_constant<int, 4>(), first);
  for (; first < count; ++first) tile(std::integral_constant<int, 1>(), first);
}

// Of queries, which are those of one head: scores [count, block.padded], the lowest number where there is no key.
void score_head(const Shape& shape, const Block& block, int64_t length, int64_t head, const float* queries, int64_t count,
                int64_t query_stride, float scaling, float* scores) {
  thread_local Workspace code_space, row_space;
  auto* codes = static_cast<int8_t*>(code_space.get(count * shape.padded_width));
  auto* rows = static_cast<RowCodes*>(row_space.get(count * sizeof(RowCodes)));
  for (int64_t query = 0; query < count; ++query) {
    rows[query] = quantize_row(queries + query * query_stride, shape.width, codes + query * shape.padded_width, shape.padded_width);
  }
  const Floats dropped = broadcast(std::numeric_limits<float>::lowest());
  for (int64_t key = 0; key < block.padded; key += kLanes) {
    const uint8_t* keys = block.keys + (head * block.padded + key) * shape.padded_width;
    const Floats key_scale = load(block.key_scale + head * block.padded + key);
    in_tiles(count, [&](auto size, int64_t first) {
      Ints sums[size];
      multiply_rows<false>(keys, kVectorBytes, codes + first * shape.padded_width, shape.padded_width, shape.padded_width / 4, sums);
      for (int each = 0; each < size; ++each) {
        const RowCodes row = rows[first + each];
        const Floats exact = to_floats(sub(sums[each], broadcast(kKeyOffset * row.sum)));
        const Floats score = mul(mul(exact, broadcast(row.scale * scaling)), key_scale);
        store(scores + (first + each) * block.padded + key, select(lanes_left(length - key), score, dropped));
      }
    });
  }
}

// The values of one head weighed by probabilities [count, block.padded].
void weigh_head(const Shape& shape, const Block& block, int64_t head, const float* probabilities, int64_t count, float* out,
                int64_t out_stride) {
  thread_local Workspace code_space, scale_space, folded_space;
  auto* codes = static_cast<int8_t*>(code_space.get(count * block.padded));
  auto* scales = static_cast<float*>(scale_space.get(count * sizeof(float)));
  auto* folded = static_cast<float*>(folded_space.get(block.padded * sizeof(float)));
  const float* value_scale = block.value_scale + head * block.padded;
  for (int64_t query = 0; query < count; ++query) {
    for (int64_t key = 0; key < block.padded; key += kLanes) {
      store(folded + key, mul(load(probabilities + query * block.padded + key), load(value_scale + key)));
    }
    scales[query] = quantize_row(folded, block.padded, codes + query * block.padded, block.padded).scale;
  }
  const auto* values = reinterpret_cast<const uint8_t*>(block.values + head * block.padded * shape.padded_width);
  for (int64_t column = 0; column < shape.width; column += kLanes) {
    const Lanes lanes = lanes_left(shape.width - column);
    in_tiles(count, [&](auto size, int64_t first) {
      Ints sums[size];
      multiply_rows<true>(values + 4 * column, 4 * shape.padded_width, codes + first * block.padded, block.padded, block.padded / 4, sums);
      for (int each = 0; each < size; ++each) {
        const Floats weighed = mul(to_floats(sums[each]), broadcast(scales[first + each]));
        store(out + (first + each) * out_stride + column, weighed, lanes);
      }
    });
  }
}

// Four tokens' values of one head, 16 of the width to a vector.
inline void write_values(const int8_t* rows, int64_t width, int8_t* values) {
  for (int64_t column = 0; column < width; column += kVectorBytes) {
    const int64_t left = std::min<int64_t>(kVectorBytes, width - column);
    Ints tokens[4], parts[4];
    for (int64_t token = 0; token < 4; ++token) tokens[token] = load_bytes(bytes_left(left), rows + token * width + column);
    interleave(tokens, parts);
    alignas(64) __m128i quarters[4][4];
    for (int part = 0; part < 4; ++part) store(quarters[part], parts[part]);
    auto* to = reinterpret_cast<__m128i*>(values + 4 * column);
    for (int64_t quarter = 0; quarter < left / 16; ++quarter)
      for (int part = 0; part < 4; ++part) _mm_storeu_si128(to + 4 * quarter + part, quarters[part][quarter]);
  }
}

void write_head(const Shape& shape, const Block& block, int64_t length, int64_t head, const float* keys, const float* values,
                int64_t stride) {
  const int64_t width = shape.padded_width, at = head * block.padded;
  thread_local Workspace row_space;
  auto* rows = static_cast<int8_t*>(row_space.get(5 * width));  // four tokens' values, one token's keys
  const auto quantized = [&](const float* from, int64_t token, int8_t* row) {
    if (token < length) return quantize_row(from + token * stride, shape.width, row, width).scale;
    std::fill(row, row + width, int8_t(0));
    return 0.0f;
  };
  for (int64_t token = 0; token < block.padded; ++token) {
    auto* key = reinterpret_cast<int32_t*>(rows + 4 * width);
    block.key_scale[at + token] = quantized(keys, token, rows + 4 * width);
    auto* lane = reinterpret_cast<int32_t*>(block.keys + (at + token / 16 * 16) * width) + token % 16;
    for (int64_t four = 0; four < width / 4; ++four) lane[four * kLanes] = key[four] ^ static_cast<int32_t>(0x80808080);  // + 128
    block.value_scale[at + token] = quantized(values, token, rows + token % 4 * width);
    if (token % 4 == 3) write_values(rows, width, block.values + (at + token - 3) * width);
  }
}

}  // namespace

extern "C" {

// Bytes of a block.
int64_t dq_block_bytes(int64_t length, int64_t heads, int64_t width) {
  return heads * round_up(length, 16) * (2 * round_up(width, 16) + 2 * static_cast<int64_t>(sizeof(float)));
}

// Keys and values of sources, each to its block. Source s has tokens starts[s] to starts[s + 1] of `keys` and `values`, whose
// rows are `stride` floats apart.
int32_t dq_write_keys(uint8_t* const* blocks, const int64_t* starts, int64_t sources, int64_t heads, int64_t width, const float* keys,
                      const float* values, int64_t stride) {
  return answer_of([&] {
    const Shape shape(heads, width);
    in_parallel(sources * heads, starts[sources] < 32 ? 1 : dq_team_size(), [&](int64_t each, int64_t) {
      const int64_t source = each / heads, head = each % heads;
      const int64_t length = starts[source + 1] - starts[source], at = starts[source] * stride + head * width;
      write_head(shape, Block(blocks[source], shape, length), length, head, keys + at, values + at, stride);
    });
  });
}

// Attention of queries over their source's keys: float32 [queries, heads * width]. Source s has `lengths[s]` keys and the queries
// starts[s] to starts[s + 1], rows of `queries`, which are `stride` floats apart.
int32_t dq_attend(uint8_t* const* blocks, const int64_t* lengths, const int64_t* starts, int64_t sources, int64_t heads, int64_t width,
                  const float* queries, int64_t stride, float scaling, float* out) {
  return answer_of([&] {
    const Shape shape(heads, width);
    int64_t most = 0, work = 0;
    for (int64_t source = 0; source < sources; ++source) {
      const int64_t count = starts[source + 1] - starts[source];
      most = std::max(most, count);
      work += 2 * count * lengths[source] * heads * width;
    }
    const int64_t parts = (most + kTogether - 1) / kTogether;
    in_parallel(sources * heads * parts, work < kSerialWork ? 1 : dq_team_size(), [&](int64_t each, int64_t) {
      const int64_t source = each / parts / heads, head = each / parts % heads;
      const int64_t first = starts[source] + each % parts * kTogether, count = std::min(kTogether, starts[source + 1] - first);
      if (count <= 0) return;
      const Block block(blocks[source], shape, lengths[source]);
      thread_local Workspace score_space;
      auto* scores = static_cast<float*>(score_space.get(count * block.padded * sizeof(float)));
      score_head(shape, block, lengths[source], head, queries + first * stride + head * width, count, stride, scaling, scores);
      for (int64_t query = 0; query < count; ++query) torch_softmax(scores + query * block.padded, block.padded);
      weigh_head(shape, block, head, scores, count, out + first * heads * width + head * width, heads * width);
    });
  });
}

}  // extern "C"
