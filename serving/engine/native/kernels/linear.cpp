// Linear layers over packed 2-, 4- or 8-bit weights.
//
// Layout. Outputs come in panels of 32, columns in groups of 4, since one VNNI instruction multiplies 4 unsigned by 4 signed
// bytes in each of 16 lanes and adds them to a lane's sum. A vector holds 4 columns of 16 outputs; with 2 bits it holds 16
// columns, the groups lying in the 1st, 2nd, 3rd and 4th pair of bits of each byte, with 4 bits 8 columns. Weights are the
// unsigned operand, as code + offset, tokens the signed one; offset * sum(token's codes) is taken off again. All sums are
// exact int32, so that neither the order nor the batch matters.
//
// A few tokens go straight over the packed panels: such a step is bound by the bytes it reads. Many tokens share a panel that
// is unpacked once into the first-level cache.
#include "linear.h"

#include <omp.h>

#include <algorithm>

#include "codes.h"

namespace dqbart {
namespace {

constexpr int kTile = 12;                  // tokens in registers: 12 * 2 sums, 2 weights, the masks
constexpr int64_t kTokensPerChunk = 384;   // tokens whose codes stay in the second-level cache
constexpr int64_t kSerialWork = 1 << 20;   // multiplications below which starting threads costs more than it saves

struct Tokens {
  const int8_t* codes;  // [tokens, stride]
  const RowCodes* rows;
  int64_t stride;
};

struct Output {
  float* values;          // [tokens, outputs]
  const float* residual;  // the same, or null
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
#pragma GCC unroll 12
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
  if (residual != nullptr) result = _mm512_add_ps(result, _mm512_maskz_loadu_ps(mask, residual + first));
  _mm512_mask_storeu_ps(values + first, mask, result);
}

template <int BITS, int TOKENS>
void tile(const DqLinear& linear, int64_t output, const uint8_t* panel, const Tokens& tokens, int64_t token, const Output& out) {
  __m512i sums[TOKENS][2];
  multiply<BITS, TOKENS>(panel, tokens.stride, tokens.codes + token * tokens.stride, tokens.stride, sums);
  for (int each = 0; each < TOKENS; ++each) {
    const int64_t start = (token + each) * linear.rows;
    for (int half = 0; half < 2; ++half) {
      finish(linear, output + half * kLanes, sums[each][half], tokens.rows[token + each], out.values + start,
             out.residual == nullptr ? nullptr : out.residual + start);
    }
  }
}

template <int BITS>
void tiles(const DqLinear& linear, int64_t output, const uint8_t* panel, const Tokens& tokens, int64_t first, int64_t end,
           const Output& out) {
  for (; end - first >= kTile; first += kTile) tile<BITS, kTile>(linear, output, panel, tokens, first, out);
  switch (end - first) {
    case 1: return tile<BITS, 1>(linear, output, panel, tokens, first, out);
    case 2: return tile<BITS, 2>(linear, output, panel, tokens, first, out);
    case 3: return tile<BITS, 3>(linear, output, panel, tokens, first, out);
    case 4: return tile<BITS, 4>(linear, output, panel, tokens, first, out);
    case 5: return tile<BITS, 5>(linear, output, panel, tokens, first, out);
    case 6: return tile<BITS, 6>(linear, output, panel, tokens, first, out);
    case 7: return tile<BITS, 7>(linear, output, panel, tokens, first, out);
    case 8: return tile<BITS, 8>(linear, output, panel, tokens, first, out);
    case 9: return tile<BITS, 9>(linear, output, panel, tokens, first, out);
    case 10: return tile<BITS, 10>(linear, output, panel, tokens, first, out);
    case 11: return tile<BITS, 11>(linear, output, panel, tokens, first, out);
  }
}

template <int BITS>
void unpack(const uint8_t* panel, int64_t padded, uint8_t* unpacked) {
  constexpr int kFields = 8 / BITS;
  for (int64_t group = 0; group < padded / 4; ++group) {
    for (int half = 0; half < 2; ++half) {
      const __m512i packed = _mm512_loadu_si512(panel + ((group / kFields) * 2 + half) * kVectorBytes);
      _mm512_storeu_si512(unpacked + (group * 2 + half) * kVectorBytes, field<BITS>(packed, group % kFields));
    }
  }
}

// One panel of outputs for the tokens from `first` to `end`.
template <int BITS>
void panel_for(const DqLinear& linear, int64_t panel, const Tokens& tokens, int64_t first, int64_t end, const Output& out) {
  const uint8_t* packed = linear.codes + panel * panel_bytes(tokens.stride, BITS);
  if constexpr (BITS < 8) {
    if (end - first > kTile) {
      thread_local Workspace unpacked;
      auto* whole = static_cast<uint8_t*>(unpacked.get(panel_bytes(tokens.stride, 8)));
      unpack<BITS>(packed, tokens.stride, whole);
      return tiles<8>(linear, panel * kPanel, whole, tokens, first, end, out);
    }
  }
  tiles<BITS>(linear, panel * kPanel, packed, tokens, first, end, out);
}

void any_panel(const DqLinear& linear, int64_t panel, const Tokens& tokens, int64_t first, int64_t end, const Output& out) {
  if (linear.bits == 2) return panel_for<2>(linear, panel, tokens, first, end, out);
  if (linear.bits == 4) return panel_for<4>(linear, panel, tokens, first, end, out);
  panel_for<8>(linear, panel, tokens, first, end, out);
}

}  // namespace
}  // namespace dqbart

using namespace dqbart;

// float32 [count, columns] to [count, rows], `residual` added when there is one. `out` may be `residual`.
extern "C" void dq_linear(const DqLinear* linear, const float* tokens, int64_t count, const float* residual, float* out,
                          int64_t threads) {
  thread_local Workspace code_space, row_space;
  const int64_t padded = round_up(linear->columns, kColumns), panels = round_up(linear->rows, kPanel) / kPanel;
  auto* codes = static_cast<int8_t*>(code_space.get(count * padded));
  auto* rows = static_cast<RowCodes*>(row_space.get(count * sizeof(RowCodes)));
  const Tokens quantized{codes, rows, padded};
  const Output output{out, residual};
  const int64_t team = count * padded * linear->rows < kSerialWork ? 1 : threads;
  // With many tokens each thread has its own; with few, its own panels.
  const bool by_tokens = count >= 4 * kTile * team;
#pragma omp parallel num_threads(team) if (team > 1)
  {
    const int64_t members = omp_get_num_threads(), member = omp_get_thread_num();
    const int64_t share = round_up((count + members - 1) / members, kTile);
    const int64_t first = std::min(count, member * share), end = std::min(count, first + share);
    for (int64_t token = first; token < end; ++token) {
      rows[token] = quantize_row(tokens + token * linear->columns, linear->columns, codes + token * padded, padded);
    }
    if (by_tokens) {
      for (int64_t start = first; start < end; start += kTokensPerChunk) {
        const int64_t stop = std::min(end, start + kTokensPerChunk);
        for (int64_t panel = 0; panel < panels; ++panel) any_panel(*linear, panel, quantized, start, stop, output);
      }
    } else {
#pragma omp barrier
      const int64_t begin = panels * member / members, stop = panels * (member + 1) / members;
      for (int64_t panel = begin; panel < stop; ++panel) any_panel(*linear, panel, quantized, 0, count, output);
    }
  }
}

// Rows of the embedding times their scale and `factor`, plus a row of positions: float32 [count, columns].
extern "C" void dq_embed(const DqLinear* embedding, const int64_t* tokens, const int64_t* positions, int64_t count, float factor,
                         const int8_t* position_codes, const float* position_scale, float* out) {
  const int64_t columns = embedding->columns, padded = round_up(columns, kColumns), bits = embedding->bits, fields = 8 / bits;
  for (int64_t each = 0; each < count; ++each) {
    const int64_t token = tokens[each], position = positions[each];
    const uint8_t* panel = embedding->codes + token / kPanel * panel_bytes(padded, bits);
    const int64_t half = token % kPanel / kLanes, lane = token % kLanes;
    const float scale = embedding->scale[token], position_factor = position_scale[position];
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t group = column / 4;
      const uint8_t packed = panel[(group / fields * 2 + half) * kVectorBytes + 4 * lane + column % 4];
      const int32_t code = ((packed >> (bits * (group % fields))) & ((1 << bits) - 1)) - offset_of(bits);
      const float value = static_cast<float>(code) * scale * factor;
      out[each * columns + column] = value + static_cast<float>(position_codes[position * columns + column]) * position_factor;
    }
  }
}
