// Products of packed panels with tokens' codes; what dq_linear and dq_head are made of.
//
// Layout. Outputs come in panels of 32, columns in groups of 4, since products add up 4 unsigned by 4 signed bytes in each of 16
// lanes. A vector holds 4 columns of 16 outputs; with 2 bits it holds 16 columns, the groups lying in the 1st, 2nd, 3rd and 4th
// pair of bits of each byte, with 4 bits 8 columns. Weights are stored as code + offset; what of the offset is in the products is
// taken off again (products.h). All sums are exact int32, so that neither the order, the batch nor the instruction set matters.
//
// Packed codes are unpacked into registers, which the processor does beside the products at no cost that could be measured: a
// step reads a quarter of the bytes, and a batch keeps four times as many outputs' weights in the first-level cache.
#pragma once

#include <algorithm>

#include "codes.h"
#include "linear.h"
#include "products.h"

namespace dqbart {

constexpr int kTile = 8;                  // tokens in registers: with more, GCC 12 moves sums about, which costs a fifth

struct Tokens {
  int8_t* codes;  // [tokens, stride]
  RowCodes* rows;
  int64_t stride;
};

struct Output {
  float* values;          // [tokens, stride], its first column the output `first`
  int64_t stride;
  int64_t first;
  const float* residual;  // as `values`, or null
};

// numerics.rescale and the residual connection.
inline void finish(const DqLinear& linear, int64_t first, Ints sum, RowCodes row, float* values, const float* residual) {
  const Lanes lanes = lanes_left(linear.rows - first);
  sum = sub(sum, broadcast(offset_in_products(linear.bits) * row.sum));
  Floats result = mul(to_floats(sum), broadcast(row.scale));
  result = mul(result, load(linear.scale + first));
  if (linear.bias != nullptr) result = add(result, load(linear.bias + first));
  if (residual != nullptr) result = add(result, load(lanes, residual));
  store(values, result, lanes);
}

template <int BITS, int TOKENS>
inline void tile(const DqLinear& linear, int64_t output, const uint8_t* panel, const Tokens& tokens, int64_t token, const Output& out) {
  Ints sums[TOKENS][2];
  multiply_panel<BITS, TOKENS>(panel, tokens.stride, tokens.codes + token * tokens.stride, tokens.stride, sums);
  for (int each = 0; each < TOKENS; ++each) {
    const int64_t start = (token + each) * out.stride + output - out.first;
    for (int half = 0; half < 2; ++half) {
      const int64_t at = start + half * kLanes;
      finish(linear, output + half * kLanes, sums[each][half], tokens.rows[token + each], out.values + at,
             out.residual == nullptr ? nullptr : out.residual + at);
    }
  }
}

template <int BITS>
inline void tile_of(int64_t size, const DqLinear& linear, int64_t output, const uint8_t* panel, const Tokens& tokens, int64_t first,
                    const Output& out) {
  switch (size) {
    case 1: return tile<BITS, 1>(linear, output, panel, tokens, first, out);
    case 2: return tile<BITS, 2>(linear, output, panel, tokens, first, out);
    case 3: return tile<BITS, 3>(linear, output, panel, tokens, first, out);
    case 4: return tile<BITS, 4>(linear, output, panel, tokens, first, out);
    case 5: return tile<BITS, 5>(linear, output, panel, tokens, first, out);
    case 6: return tile<BITS, 6>(linear, output, panel, tokens, first, out);
    case 7: return tile<BITS, 7>(linear, output, panel, tokens, first, out);
    default: return tile<BITS, 8>(linear, output, panel, tokens, first, out);
  }
}

// The tokens from `first` to `end` in tiles of about the same size: a small one would use the processor badly.
template <int BITS>
inline void tiles(const DqLinear& linear, int64_t output, const uint8_t* panel, const Tokens& tokens, int64_t first, int64_t end,
                  const Output& out) {
  for (int64_t left = (end - first + kTile - 1) / kTile; left > 0; --left) {
    const int64_t size = (end - first + left - 1) / left;
    tile_of<BITS>(size, linear, output, panel, tokens, first, out);
    first += size;
  }
}

// One panel of outputs for the tokens from `first` to `end`.
inline void panel_of_outputs(const DqLinear& linear, int64_t panel, const Tokens& tokens, int64_t first, int64_t end, const Output& out) {
  const uint8_t* codes = linear.codes + panel * panel_bytes(tokens.stride, linear.bits);
  if (linear.bits == 2) return tiles<2>(linear, panel * kPanel, codes, tokens, first, end, out);
  if (linear.bits == 4) return tiles<4>(linear, panel * kPanel, codes, tokens, first, end, out);
  tiles<8>(linear, panel * kPanel, codes, tokens, first, end, out);
}

}  // namespace dqbart
