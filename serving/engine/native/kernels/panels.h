// Products of packed panels with tokens' codes; what dq_linear and dq_head are made of.
//
// Layout. Outputs come in panels of 32, columns in groups of 4, since one VNNI instruction multiplies 4 unsigned by 4 signed
// bytes in each of 16 lanes and adds them to a lane's sum. A vector holds 4 columns of 16 outputs; with 2 bits it holds 16
// columns, the groups lying in the 1st, 2nd, 3rd and 4th pair of bits of each byte, with 4 bits 8 columns. Weights are the
// unsigned operand, as code + offset, tokens the signed one; offset * sum(token's codes) is taken off again. All sums are
// exact int32, so that neither the order nor the batch matters.
//
// Packed codes are unpacked into registers, which the processor does beside the products at no cost that could be measured: a
// step reads a quarter of the bytes, and a batch keeps four times as many outputs' weights in the first-level cache.
#pragma once

#include <algorithm>

#include "codes.h"
#include "linear.h"

namespace dqbart {

constexpr int kTile = 8;                  // tokens in registers: with more, GCC 12 moves sums about, which costs a fifth

struct Tokens {
  const int8_t* codes;  // [tokens, stride]
  const RowCodes* rows;
  int64_t stride;
};

struct Output {
  float* values;          // [tokens, stride], its first column the output `first`
  int64_t stride;
  int64_t first;
  const float* residual;  // as `values`, or null
};

template <int BITS>
inline __m512i field(__m512i packed, int place) {
  if constexpr (BITS == 2) return _mm512_and_si512(_mm512_srli_epi16(packed, 2 * place), _mm512_set1_epi8(3));
  return _mm512_and_si512(_mm512_srli_epi16(packed, 4 * place), _mm512_set1_epi8(15));
}

// Sums of one panel for TOKENS tokens.
template <int BITS, int TOKENS>
inline void multiply(const uint8_t* panel, int64_t padded, const int8_t* codes, int64_t stride, __m512i (&sums)[TOKENS][2]) {
  constexpr int kFields = 8 / BITS;
  // With few tokens, several sums for each output hide the latency of the instruction.
  constexpr int kSplit = TOKENS <= 2 ? 4 : 1;
  __m512i parts[kSplit][TOKENS][2];
  for (auto& part : parts)
    for (auto& token : part) token[0] = token[1] = _mm512_setzero_si512();
  for (int64_t column = 0; column < padded; column += 16) {
#pragma GCC unroll 4
    for (int group = 0; group < 4; ++group) {
      const uint8_t* at = panel + (group / kFields) * 2 * kVectorBytes;
      __m512i low = _mm512_loadu_si512(at), high = _mm512_loadu_si512(at + kVectorBytes);
      if constexpr (BITS < 8) {
        low = field<BITS>(low, group % kFields);
        high = field<BITS>(high, group % kFields);
      }
#pragma GCC unroll 8
      for (int token = 0; token < TOKENS; ++token) {
        const __m512i four = broadcast4(codes + token * stride + column + 4 * group);
        auto& part = parts[group % kSplit][token];
        part[0] = _mm512_dpbusd_epi32(part[0], low, four);
        part[1] = _mm512_dpbusd_epi32(part[1], high, four);
      }
    }
    panel += 2 * kVectorBytes * (4 / kFields);
  }
  for (int token = 0; token < TOKENS; ++token)
    for (int half = 0; half < 2; ++half) {
      __m512i sum = parts[0][token][half];
      for (int split = 1; split < kSplit; ++split) sum = _mm512_add_epi32(sum, parts[split][token][half]);
      sums[token][half] = sum;
    }
}

// numerics.rescale and the residual connection.
inline void finish(const DqLinear& linear, int64_t first, __m512i sum, RowCodes row, float* values, const float* residual) {
  const __mmask16 mask = lanes_left(linear.rows - first);
  sum = _mm512_sub_epi32(sum, _mm512_set1_epi32(offset_of(linear.bits) * row.sum));
  __m512 result = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(row.scale));
  result = _mm512_mul_ps(result, _mm512_loadu_ps(linear.scale + first));
  if (linear.bias != nullptr) result = _mm512_add_ps(result, _mm512_loadu_ps(linear.bias + first));
  if (residual != nullptr) result = _mm512_add_ps(result, _mm512_maskz_loadu_ps(mask, residual));
  _mm512_mask_storeu_ps(values, mask, result);
}

template <int BITS, int TOKENS>
inline void tile(const DqLinear& linear, int64_t output, const uint8_t* panel, const Tokens& tokens, int64_t token, const Output& out) {
  __m512i sums[TOKENS][2];
  multiply<BITS, TOKENS>(panel, tokens.stride, tokens.codes + token * tokens.stride, tokens.stride, sums);
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
