// vectors.h with AVX2 and FMA: a vector is two registers.
#pragma once

#include <immintrin.h>

#include <algorithm>

namespace dqbart {

struct Floats { __m256 half[2]; };
struct Ints { __m256i half[2]; };     // int32, or bytes
struct Doubles { __m256d half[2]; };  // 8 of them

struct Lanes { int64_t count; };     // the first so many of 16
struct Bytes { int64_t quarters; };  // the first so many of 64, in sixteens

inline Lanes lanes_left(int64_t count) { return {count >= kLanes ? kLanes : count > 0 ? count : 0}; }
inline Bytes bytes_left(int64_t count) { return {count >= kVectorBytes ? 4 : count / 16}; }

alignas(32) constexpr int32_t kFirst16Of32[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

// All bits of the lanes of a half.
inline __m256i mask_of(Lanes lanes, int half) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirst16Of32 + 16 - lanes.count + 8 * half));
}

inline Floats broadcast(float value) { return {{_mm256_set1_ps(value), _mm256_set1_ps(value)}}; }
inline Ints broadcast(int32_t value) { return {{_mm256_set1_epi32(value), _mm256_set1_epi32(value)}}; }
inline Ints broadcast4(const void* bytes) { return broadcast(*static_cast<const int32_t*>(bytes)); }
inline Doubles zero_doubles() { return {{_mm256_setzero_pd(), _mm256_setzero_pd()}}; }
inline Doubles broadcast(double value) { return {{_mm256_set1_pd(value), _mm256_set1_pd(value)}}; }

inline Floats select(Lanes lanes, Floats values, Floats others) {
  return {{_mm256_blendv_ps(others.half[0], values.half[0], _mm256_castsi256_ps(mask_of(lanes, 0))),
           _mm256_blendv_ps(others.half[1], values.half[1], _mm256_castsi256_ps(mask_of(lanes, 1)))}};
}
inline Floats select(Lanes lanes, Floats values) {
  return {{_mm256_and_ps(values.half[0], _mm256_castsi256_ps(mask_of(lanes, 0))),
           _mm256_and_ps(values.half[1], _mm256_castsi256_ps(mask_of(lanes, 1)))}};
}

// Lanes that are not loaded are zero, or those of `other`. Masked stores are slow, and seldom needed.
inline Floats load(const float* from) { return {{_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}}; }
inline Floats load(Lanes lanes, const float* from) {
  if (lanes.count == kLanes) return load(from);
  return {{_mm256_maskload_ps(from, mask_of(lanes, 0)), _mm256_maskload_ps(from + 8, mask_of(lanes, 1))}};
}
inline Floats load(Lanes lanes, const float* from, Floats other) {
  return lanes.count == kLanes ? load(from) : select(lanes, load(lanes, from), other);
}
inline Ints load_bytes(Bytes bytes, const void* from) {
  const auto* quarters = static_cast<const __m128i*>(from);
  const auto* halves = static_cast<const __m256i*>(from);
  const auto quarter = [&](int place) { return _mm256_zextsi128_si256(_mm_loadu_si128(quarters + place)); };
  const __m256i none = _mm256_setzero_si256();
  switch (bytes.quarters) {
    case 0: return {{none, none}};
    case 1: return {{quarter(0), none}};
    case 2: return {{_mm256_loadu_si256(halves), none}};
    case 3: return {{_mm256_loadu_si256(halves), quarter(2)}};
    default: return {{_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)}};
  }
}

inline void store(float* to, Floats values) {
  _mm256_storeu_ps(to, values.half[0]);
  _mm256_storeu_ps(to + 8, values.half[1]);
}
inline void store(float* to, Floats values, Lanes lanes) {
  if (lanes.count == kLanes) return store(to, values);
  _mm256_maskstore_ps(to, mask_of(lanes, 0), values.half[0]);
  _mm256_maskstore_ps(to + 8, mask_of(lanes, 1), values.half[1]);
}
inline void store(double* to, Doubles values) {
  _mm256_storeu_pd(to, values.half[0]);
  _mm256_storeu_pd(to + 4, values.half[1]);
}
inline void store(void* to, Ints values) {
  _mm256_storeu_si256(static_cast<__m256i*>(to), values.half[0]);
  _mm256_storeu_si256(static_cast<__m256i*>(to) + 1, values.half[1]);
}
// Of values that int8 holds.
inline void store_low_bytes(int8_t* to, Ints values) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(values.half[0], values.half[1]), 0xd8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}

// An operation of one register, done on both.
#define DQ_ON_BOTH(Type, name, instruction)                                                                    \
  inline Type name(Type one, Type other) {                                                                     \
    return {{instruction(one.half[0], other.half[0]), instruction(one.half[1], other.half[1])}};               \
  }
DQ_ON_BOTH(Floats, add, _mm256_add_ps)
DQ_ON_BOTH(Floats, sub, _mm256_sub_ps)
DQ_ON_BOTH(Floats, mul, _mm256_mul_ps)
DQ_ON_BOTH(Floats, div, _mm256_div_ps)
DQ_ON_BOTH(Floats, max, _mm256_max_ps)
DQ_ON_BOTH(Ints, add, _mm256_add_epi32)
DQ_ON_BOTH(Ints, sub, _mm256_sub_epi32)
DQ_ON_BOTH(Ints, max, _mm256_max_epi32)
DQ_ON_BOTH(Ints, min, _mm256_min_epi32)
DQ_ON_BOTH(Doubles, add, _mm256_add_pd)
DQ_ON_BOTH(Doubles, mul, _mm256_mul_pd)
// Of each 128 bits: the lower, or the upper halves of two vectors in turns.
DQ_ON_BOTH(Ints, zip_low8, _mm256_unpacklo_epi8)
DQ_ON_BOTH(Ints, zip_high8, _mm256_unpackhi_epi8)
DQ_ON_BOTH(Ints, zip_low16, _mm256_unpacklo_epi16)
DQ_ON_BOTH(Ints, zip_high16, _mm256_unpackhi_epi16)
DQ_ON_BOTH(Ints, zip_low32, _mm256_unpacklo_epi32)
DQ_ON_BOTH(Ints, zip_high32, _mm256_unpackhi_epi32)
DQ_ON_BOTH(Ints, zip_low64, _mm256_unpacklo_epi64)
DQ_ON_BOTH(Ints, zip_high64, _mm256_unpackhi_epi64)
#undef DQ_ON_BOTH

inline Floats fmadd(Floats one, Floats other, Floats sum) {
  return {{_mm256_fmadd_ps(one.half[0], other.half[0], sum.half[0]), _mm256_fmadd_ps(one.half[1], other.half[1], sum.half[1])}};
}
inline Floats fnmadd(Floats one, Floats other, Floats sum) {
  return {{_mm256_fnmadd_ps(one.half[0], other.half[0], sum.half[0]), _mm256_fnmadd_ps(one.half[1], other.half[1], sum.half[1])}};
}
inline Floats magnitude(Floats values) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {{_mm256_andnot_ps(sign, values.half[0]), _mm256_andnot_ps(sign, values.half[1])}};
}
inline Floats round_to_whole(Floats values) {
  constexpr int kWay = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {{_mm256_round_ps(values.half[0], kWay), _mm256_round_ps(values.half[1], kWay)}};
}

inline Doubles round_to_whole(Doubles values) {
  constexpr int kWay = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {{_mm256_round_pd(values.half[0], kWay), _mm256_round_pd(values.half[1], kWay)}};
}

inline Ints magnitude_bits(Floats values) {
  const Floats found = magnitude(values);
  return {{_mm256_castps_si256(found.half[0]), _mm256_castps_si256(found.half[1])}};
}
inline Floats to_floats(Ints values) { return {{_mm256_cvtepi32_ps(values.half[0]), _mm256_cvtepi32_ps(values.half[1])}}; }
inline Ints to_ints(Floats values) { return {{_mm256_cvtps_epi32(values.half[0]), _mm256_cvtps_epi32(values.half[1])}}; }
inline Doubles doubles_of(__m256 half) {
  return {{_mm256_cvtps_pd(_mm256_castps256_ps128(half)), _mm256_cvtps_pd(_mm256_extractf128_ps(half, 1))}};
}
inline Doubles low_doubles(Floats values) { return doubles_of(values.half[0]); }
inline Doubles high_doubles(Floats values) { return doubles_of(values.half[1]); }

// value * 2^power for whole powers from -150 to 0 and values about 1, rounded once: the first of two factors leaves a normal
// number, so that only the second can round.
inline Floats scale_by_power(Floats values, Floats powers) {
  const auto scaled = [](__m256 value, __m256 power) {
    const __m256i whole = _mm256_cvtps_epi32(power), first = _mm256_srai_epi32(whole, 1), second = _mm256_sub_epi32(whole, first);
    const auto factor = [](__m256i exponent) {
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(exponent, _mm256_set1_epi32(127)), 23));
    };
    return _mm256_mul_ps(_mm256_mul_ps(value, factor(first)), factor(second));
  };
  return {{scaled(values.half[0], powers.half[0]), scaled(values.half[1], powers.half[1])}};
}

// What is zero where x < limit, and else as it is.
inline Floats zero_below(Floats values, Floats x, float limit) {
  const __m256 least = _mm256_set1_ps(limit);
  return {{_mm256_and_ps(values.half[0], _mm256_cmp_ps(x.half[0], least, _CMP_NLT_UQ)),
           _mm256_and_ps(values.half[1], _mm256_cmp_ps(x.half[1], least, _CMP_NLT_UQ))}};
}
inline __m256 low_half(Floats values) { return values.half[0]; }
inline __m256 high_half(Floats values) { return values.half[1]; }

// Halves of what is left are joined until one lane is, the upper one first: the order that _mm512_reduce_* have.
inline float reduce_max(Floats values) {
  const __m256 eight = _mm256_max_ps(values.half[1], values.half[0]);
  const __m128 four = _mm_max_ps(_mm256_extractf128_ps(eight, 1), _mm256_castps256_ps128(eight));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
inline double reduce_add(Doubles values) {
  const __m256d four = _mm256_add_pd(values.half[1], values.half[0]);
  const __m128d two = _mm_add_pd(_mm256_extractf128_pd(four, 1), _mm256_castpd256_pd128(four));
  return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}

inline int32_t reduce_max(Ints values) {
  const __m256i eight = _mm256_max_epi32(values.half[0], values.half[1]);
  const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_max_epi32(four, _mm_unpackhi_epi64(four, four));
  return std::max(_mm_cvtsi128_si32(two), _mm_extract_epi32(two, 1));
}

// The sum of the four quarters of a vector.
inline __m128i add_quarters(Ints values) {
  const __m256i pair = _mm256_add_epi32(values.half[0], values.half[1]);
  return _mm_add_epi32(_mm256_castsi256_si128(pair), _mm256_extracti128_si256(pair, 1));
}
inline int32_t reduce_add(Ints values) {
  const __m128i four = add_quarters(values), two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(two) + _mm_extract_epi32(two, 1);
}

// A bit for each of the first lanes that is not NaN, or that is greater.
inline unsigned bits_of(__m256 low, __m256 high, Lanes lanes) {
  const auto bits = static_cast<unsigned>(_mm256_movemask_ps(low)) | static_cast<unsigned>(_mm256_movemask_ps(high)) << 8;
  return bits & ((1u << lanes.count) - 1);
}
inline unsigned are_numbers(Floats values, Lanes lanes) {
  return bits_of(_mm256_cmp_ps(values.half[0], values.half[0], _CMP_ORD_Q),
                 _mm256_cmp_ps(values.half[1], values.half[1], _CMP_ORD_Q), lanes);
}
inline unsigned are_greater(Floats one, Floats other, Lanes lanes) {
  return bits_of(_mm256_cmp_ps(one.half[0], other.half[0], _CMP_GT_OQ),
                 _mm256_cmp_ps(one.half[1], other.half[1], _CMP_GT_OQ), lanes);
}

}  // namespace dqbart
