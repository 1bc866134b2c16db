// products.h with AVX-512 VNNI: one instruction multiplies 4 unsigned by 4 signed bytes in each of 16 lanes and adds them to a
// lane's sum.
#pragma once

namespace dqbart {

// What is to be taken off the sums of a panel's products, and of keys' products.
inline int32_t offset_in_products(int64_t bits) { return offset_of(bits); }
constexpr int32_t kKeyOffset = 128;

// Adds products of unsigned and signed bytes.
inline Ints add_products(Ints sum, Ints unsigned_bytes, Ints signed_bytes) {
  return _mm512_dpbusd_epi32(sum, unsigned_bytes, signed_bytes);
}

// Adds products of keys, stored as code + 128, and codes.
inline Ints add_key_products(Ints sum, Ints keys, Ints codes) { return _mm512_dpbusd_epi32(sum, keys, codes); }

// Sums of TOKENS rows of codes with 16 lanes of columns. SIGNED_COLUMNS: the rows are the unsigned operand.
template <bool SIGNED_COLUMNS, int TOKENS>
inline void multiply_rows(const uint8_t* columns, int64_t column_stride, const int8_t* rows, int64_t stride, int64_t groups,
                          Ints (&sums)[TOKENS]) {
  for (auto& sum : sums) sum = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int64_t group = 0; group < groups; ++group) {
    const Ints column = _mm512_loadu_si512(columns + group * column_stride);
#pragma GCC unroll 8
    for (int token = 0; token < TOKENS; ++token) {
      const Ints row = broadcast4(rows + token * stride + 4 * group);
      sums[token] = SIGNED_COLUMNS ? _mm512_dpbusd_epi32(sums[token], row, column) : _mm512_dpbusd_epi32(sums[token], column, row);
    }
  }
}

template <int BITS>
inline Ints field(Ints packed, int place) {
  if constexpr (BITS == 2) return _mm512_and_si512(_mm512_srli_epi16(packed, 2 * place), _mm512_set1_epi8(3));
  return _mm512_and_si512(_mm512_srli_epi16(packed, 4 * place), _mm512_set1_epi8(15));
}

// Sums of one panel for TOKENS tokens.
template <int BITS, int TOKENS>
inline void multiply_panel(const uint8_t* panel, int64_t padded, const int8_t* codes, int64_t stride, Ints (&sums)[TOKENS][2]) {
  constexpr int kFields = 8 / BITS;
  // With few tokens, several sums for each output hide the latency of the instruction.
  constexpr int kSplit = TOKENS <= 2 ? 4 : 1;
  Ints parts[kSplit][TOKENS][2];
  for (auto& part : parts)
    for (auto& token : part) token[0] = token[1] = _mm512_setzero_si512();
  for (int64_t column = 0; column < padded; column += 16) {
#pragma GCC unroll 4
    for (int group = 0; group < 4; ++group) {
      const uint8_t* at = panel + (group / kFields) * 2 * kVectorBytes;
      Ints low = _mm512_loadu_si512(at), high = _mm512_loadu_si512(at + kVectorBytes);
      if constexpr (BITS < 8) {
        low = field<BITS>(low, group % kFields);
        high = field<BITS>(high, group % kFields);
      }
#pragma GCC unroll 8
      for (int token = 0; token < TOKENS; ++token) {
        const Ints four = broadcast4(codes + token * stride + column + 4 * group);
        auto& part = parts[group % kSplit][token];
        part[0] = _mm512_dpbusd_epi32(part[0], low, four);
        part[1] = _mm512_dpbusd_epi32(part[1], high, four);
      }
    }
    panel += 2 * kVectorBytes * (4 / kFields);
  }
  for (int token = 0; token < TOKENS; ++token)
    for (int half = 0; half < 2; ++half) {
      Ints sum = parts[0][token][half];
      for (int split = 1; split < kSplit; ++split) sum = _mm512_add_epi32(sum, parts[split][token][half]);
      sums[token][half] = sum;
    }
}

}  // namespace dqbart
