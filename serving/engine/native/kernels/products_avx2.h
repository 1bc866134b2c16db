// products.h with AVX2, which multiplies bytes only into sums of pairs in int16, and saturates those: everything here keeps below
// that. Half a vector at a time, so that the sums of 8 tokens fit the 16 registers.
#pragma once

#include <algorithm>

namespace dqbart {

// What is to be taken off the sums of a panel's products, and of keys' products: codes of 8 bits get their sign back first.
inline int32_t offset_in_products(int64_t bits) { return bits == 8 ? 0 : offset_of(bits); }
constexpr int32_t kKeyOffset = 0;

// int32 from the pairs of int16.
inline __m256i add_pairs(__m256i sum, __m256i pairs) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// Adds products of unsigned and signed bytes, the unsigned ones at most 128: 2 * 128 * 127 = 32,512 fits int16.
inline __m256i add_products(__m256i sum, __m256i unsigned_bytes, __m256i signed_bytes) {
  return add_pairs(sum, _mm256_maddubs_epi16(unsigned_bytes, signed_bytes));
}
inline Ints add_products(Ints sum, Ints unsigned_bytes, Ints signed_bytes) {
  return {{add_products(sum.half[0], unsigned_bytes.half[0], signed_bytes.half[0]),
           add_products(sum.half[1], unsigned_bytes.half[1], signed_bytes.half[1])}};
}

// Bytes that were stored as code + 128, as their magnitudes and signs.
struct Signed {
  __m256i codes, magnitudes;
  explicit Signed(__m256i stored) : codes(_mm256_xor_si256(stored, _mm256_set1_epi8(-128))), magnitudes(_mm256_abs_epi8(codes)) {}
  // Adds products with signed bytes, none of them -128.
  __m256i add_products(__m256i sum, __m256i others) const {
    return dqbart::add_products(sum, magnitudes, _mm256_sign_epi8(others, codes));
  }
};

// Adds products of keys, stored as code + 128, and codes.
inline Ints add_key_products(Ints sum, Ints keys, Ints codes) {
  return {{Signed(keys.half[0]).add_products(sum.half[0], codes.half[0]),
           Signed(keys.half[1]).add_products(sum.half[1], codes.half[1])}};
}

inline __m256i load_half(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline __m256i broadcast4_half(const void* bytes) { return _mm256_set1_epi32(*static_cast<const int32_t*>(bytes)); }

// Sums of TOKENS rows of codes with 16 lanes of columns. SIGNED_COLUMNS: the rows are the unsigned operand, else columns are stored
// as code + 128.
template <bool SIGNED_COLUMNS, int TOKENS>
inline void multiply_rows(const uint8_t* columns, int64_t column_stride, const int8_t* rows, int64_t stride, int64_t groups,
                          Ints (&sums)[TOKENS]) {
  for (int half = 0; half < 2; ++half) {
    __m256i parts[TOKENS];
    for (auto& part : parts) part = _mm256_setzero_si256();
    for (int64_t group = 0; group < groups; ++group) {
      const __m256i stored = load_half(columns + group * column_stride + half * kVectorBytes / 2);
      const Signed column(stored);
#pragma GCC unroll 8
      for (int token = 0; token < TOKENS; ++token) {
        const __m256i row = broadcast4_half(rows + token * stride + 4 * group);
        parts[token] = SIGNED_COLUMNS ? add_products(parts[token], row, stored) : column.add_products(parts[token], row);
      }
    }
    for (int token = 0; token < TOKENS; ++token) sums[token].half[half] = parts[token];
  }
}

// The 8-bit codes of 8 outputs with TOKENS tokens.
template <int TOKENS>
inline void multiply_bytes(const uint8_t* quarter, int64_t padded, const int8_t* codes, int64_t stride, __m256i (&sums)[TOKENS]) {
  for (auto& sum : sums) sum = _mm256_setzero_si256();
  for (int64_t column = 0; column < padded; column += 4) {
    const Signed weights(load_half(quarter));
#pragma GCC unroll 8
    for (int token = 0; token < TOKENS; ++token) {
      sums[token] = weights.add_products(sums[token], broadcast4_half(codes + token * stride + column));
    }
    quarter += 2 * kVectorBytes;
  }
}

// The packed codes of 8 outputs with TOKENS tokens. Weights are small, so that an int16 sum holds many products: those of 16
// columns come to 4 * 2 * 15 * 127 = 15,240 at most with 4 bits, to 3,048 with 2, and twice and eight times as much fits.
template <int BITS, int TOKENS>
inline void multiply_packed(const uint8_t* quarter, int64_t padded, const int8_t* codes, int64_t stride, __m256i (&sums)[TOKENS]) {
  constexpr int kFields = 8 / BITS;
  constexpr int64_t kFitting = 16 * (BITS == 2 ? 8 : 2);
  const __m256i field = _mm256_set1_epi8((1 << BITS) - 1);
  for (auto& sum : sums) sum = _mm256_setzero_si256();
  for (int64_t start = 0; start < padded; start += kFitting) {
    __m256i pairs[TOKENS];
    for (auto& each : pairs) each = _mm256_setzero_si256();
    for (int64_t column = start; column < std::min(padded, start + kFitting); column += 16) {
      __m256i weights[4];
#pragma GCC unroll 4
      for (int group = 0; group < 4; ++group) {
        const __m256i packed = load_half(quarter + group / kFields * 2 * kVectorBytes);
        weights[group] = _mm256_and_si256(_mm256_srli_epi16(packed, BITS * (group % kFields)), field);
      }
#pragma GCC unroll 8
      for (int token = 0; token < TOKENS; ++token) {
        const int8_t* at = codes + token * stride + column;
        const auto products = [&](int group) { return _mm256_maddubs_epi16(weights[group], broadcast4_half(at + 4 * group)); };
        const __m256i one = _mm256_add_epi16(products(0), products(1)), other = _mm256_add_epi16(products(2), products(3));
        pairs[token] = _mm256_add_epi16(pairs[token], _mm256_add_epi16(one, other));
      }
      quarter += 2 * kVectorBytes * (4 / kFields);
    }
    for (int token = 0; token < TOKENS; ++token) sums[token] = add_pairs(sums[token], pairs[token]);
  }
}

// Sums of one panel for TOKENS tokens.
template <int BITS, int TOKENS>
inline void multiply_panel(const uint8_t* panel, int64_t padded, const int8_t* codes, int64_t stride, Ints (&sums)[TOKENS][2]) {
  for (int quarter = 0; quarter < 4; ++quarter) {
    __m256i found[TOKENS];
    const uint8_t* from = panel + quarter * kVectorBytes / 2;
    if constexpr (BITS == 8) multiply_bytes<TOKENS>(from, padded, codes, stride, found);
    else multiply_packed<BITS, TOKENS>(from, padded, codes, stride, found);
    for (int token = 0; token < TOKENS; ++token) sums[token][quarter / 2].half[quarter % 2] = found[token];
  }
}

}  // namespace dqbart
