// vectors.h with AVX-512: a vector is one register.
#pragma once

#include <immintrin.h>

namespace dqbart {

using Floats = __m512;
using Ints = __m512i;     // int32, or bytes
using Doubles = __m512d;  // 8 of them

using Lanes = __mmask16;  // the first so many of 16
using Bytes = __mmask64;  // the first so many of 64, a multiple of 16

inline Lanes lanes_left(int64_t count) {
  return count >= kLanes ? __mmask16(0xffff) : __mmask16((1u << (count > 0 ? count : 0)) - 1);
}

inline Bytes bytes_left(int64_t count) { return count >= 64 ? ~__mmask64(0) : (__mmask64(1) << count) - 1; }

inline Floats broadcast(float value) { return _mm512_set1_ps(value); }
inline Ints broadcast(int32_t value) { return _mm512_set1_epi32(value); }
inline Ints broadcast4(const void* bytes) { return _mm512_set1_epi32(*static_cast<const int32_t*>(bytes)); }
inline Doubles zero_doubles() { return _mm512_setzero_pd(); }
inline Doubles broadcast(double value) { return _mm512_set1_pd(value); }

// Lanes that are not loaded are zero, or those of `other`.
inline Floats load(const float* from) { return _mm512_loadu_ps(from); }
inline Floats load(Lanes lanes, const float* from) { return _mm512_maskz_loadu_ps(lanes, from); }
inline Floats load(Lanes lanes, const float* from, Floats other) { return _mm512_mask_loadu_ps(other, lanes, from); }
inline Ints load_bytes(Bytes bytes, const void* from) { return _mm512_maskz_loadu_epi8(bytes, from); }

inline void store(float* to, Floats values) { _mm512_storeu_ps(to, values); }
inline void store(float* to, Floats values, Lanes lanes) { _mm512_mask_storeu_ps(to, lanes, values); }
inline void store(double* to, Doubles values) { _mm512_storeu_pd(to, values); }
inline void store(void* to, Ints values) { _mm512_storeu_si512(to, values); }
inline void store_low_bytes(int8_t* to, Ints values) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(values));
}

inline Floats select(Lanes lanes, Floats values, Floats others) { return _mm512_mask_mov_ps(others, lanes, values); }
inline Floats select(Lanes lanes, Floats values) { return _mm512_maskz_mov_ps(lanes, values); }

inline Floats add(Floats one, Floats other) { return _mm512_add_ps(one, other); }
inline Floats sub(Floats one, Floats other) { return _mm512_sub_ps(one, other); }
inline Floats mul(Floats one, Floats other) { return _mm512_mul_ps(one, other); }
inline Floats div(Floats one, Floats other) { return _mm512_div_ps(one, other); }
inline Floats max(Floats one, Floats other) { return _mm512_max_ps(one, other); }
inline Floats magnitude(Floats values) { return _mm512_abs_ps(values); }
inline Floats fmadd(Floats one, Floats other, Floats sum) { return _mm512_fmadd_ps(one, other, sum); }
inline Floats fnmadd(Floats one, Floats other, Floats sum) { return _mm512_fnmadd_ps(one, other, sum); }
inline Floats round_to_whole(Floats values) {
  return _mm512_roundscale_ps(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// value * 2^power for whole powers from -150 to 0 and values about 1, rounded once.
inline Floats scale_by_power(Floats values, Floats powers) { return _mm512_scalef_ps(values, powers); }

inline Ints add(Ints one, Ints other) { return _mm512_add_epi32(one, other); }
inline Ints sub(Ints one, Ints other) { return _mm512_sub_epi32(one, other); }
inline Ints max(Ints one, Ints other) { return _mm512_max_epi32(one, other); }
inline Ints min(Ints one, Ints other) { return _mm512_min_epi32(one, other); }

inline Doubles add(Doubles one, Doubles other) { return _mm512_add_pd(one, other); }
inline Doubles mul(Doubles one, Doubles other) { return _mm512_mul_pd(one, other); }
inline Doubles round_to_whole(Doubles values) {
  return _mm512_roundscale_pd(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

inline Floats to_floats(Ints values) { return _mm512_cvtepi32_ps(values); }
inline Ints magnitude_bits(Floats values) { return _mm512_castps_si512(_mm512_abs_ps(values)); }
inline Ints to_ints(Floats values) { return _mm512_cvtps_epi32(values); }
inline Doubles low_doubles(Floats values) { return _mm512_cvtps_pd(_mm512_castps512_ps256(values)); }
inline Doubles high_doubles(Floats values) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(values, 1)); }

// What is zero where x < limit, and else as it is.
inline Floats zero_below(Floats values, Floats x, float limit) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, broadcast(limit), _CMP_NLT_UQ), values);
}
inline __m256 low_half(Floats values) { return _mm512_castps512_ps256(values); }
inline __m256 high_half(Floats values) { return _mm512_extractf32x8_ps(values, 1); }

inline float reduce_max(Floats values) { return _mm512_reduce_max_ps(values); }
inline int32_t reduce_max(Ints values) { return _mm512_reduce_max_epi32(values); }
inline int32_t reduce_add(Ints values) { return _mm512_reduce_add_epi32(values); }
inline double reduce_add(Doubles values) { return _mm512_reduce_add_pd(values); }

// A bit for each of the first lanes that is not NaN, or that is greater.
inline unsigned are_numbers(Floats values, Lanes lanes) { return _mm512_mask_cmp_ps_mask(lanes, values, values, _CMP_ORD_Q); }
inline unsigned are_greater(Floats one, Floats other, Lanes lanes) {
  return _mm512_mask_cmp_ps_mask(lanes, one, other, _CMP_GT_OQ);
}

// Of each 128 bits: the lower, or the upper halves of two vectors in turns.
inline Ints zip_low8(Ints one, Ints other) { return _mm512_unpacklo_epi8(one, other); }
inline Ints zip_high8(Ints one, Ints other) { return _mm512_unpackhi_epi8(one, other); }
inline Ints zip_low16(Ints one, Ints other) { return _mm512_unpacklo_epi16(one, other); }
inline Ints zip_high16(Ints one, Ints other) { return _mm512_unpackhi_epi16(one, other); }
inline Ints zip_low32(Ints one, Ints other) { return _mm512_unpacklo_epi32(one, other); }
inline Ints zip_high32(Ints one, Ints other) { return _mm512_unpackhi_epi32(one, other); }
inline Ints zip_low64(Ints one, Ints other) { return _mm512_unpacklo_epi64(one, other); }
inline Ints zip_high64(Ints one, Ints other) { return _mm512_unpackhi_epi64(one, other); }

// The sum of the four quarters of a vector.
inline __m128i add_quarters(Ints values) {
  const __m256i pair = _mm256_add_epi32(_mm512_castsi512_si256(values), _mm512_extracti64x4_epi64(values, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(pair), _mm256_extracti128_si256(pair, 1));
}

}  // namespace dqbart
