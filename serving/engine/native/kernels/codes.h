// Float rows to 8-bit codes and integer sums back to values, with the bits of quant/numerics.py.
//
// Every operation here is a single IEEE operation in the order that numerics.py has, so that the bits are the same; the
// library is compiled with -ffp-contract=off, which keeps a product and a sum from becoming one rounding.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace dqbart {

constexpr int kLanes = 16;         // float or int32 lanes of a vector
constexpr int kVectorBytes = 64;   // bytes of a vector
constexpr float kLevels = 127.0f;  // numerics.ACTIVATION_LEVELS

constexpr int64_t kSerialWork = 1 << 20;  // multiplications below which starting threads costs more than it saves

inline int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

inline __mmask16 lanes_left(int64_t count) {
  return count >= kLanes ? __mmask16(0xffff) : __mmask16((1u << (count > 0 ? count : 0)) - 1);
}

inline __mmask64 bytes_left(int64_t count) { return count >= 64 ? ~__mmask64(0) : (__mmask64(1) << count) - 1; }

// Memory that grows and is kept: fresh pages cost more than the arithmetic that is done on them.
class Workspace {
 public:
  ~Workspace() { std::free(memory_); }
  void* get(size_t bytes) {
    if (bytes > size_) {
      std::free(memory_);
      size_ = static_cast<size_t>(round_up(static_cast<int64_t>(bytes), 4096));
      memory_ = std::aligned_alloc(kVectorBytes, size_);
      if (memory_ == nullptr) {
        size_ = 0;
        throw std::bad_alloc();
      }
    }
    return memory_;
  }

 private:
  void* memory_ = nullptr;
  size_t size_ = 0;
};

// The scale of a row whose largest magnitude is `peak`: numerics.quantize_activation.
inline float scale_of(float peak) {
  const float scale = peak / kLevels;
  return scale == 0.0f ? 1.0f : scale;
}

inline float row_peak(const float* values, int64_t count) {
  __m512 peak = _mm512_setzero_ps();
  for (int64_t at = 0; at < count; at += kLanes) {
    peak = _mm512_max_ps(peak, _mm512_abs_ps(_mm512_maskz_loadu_ps(lanes_left(count - at), values + at)));
  }
  return _mm512_reduce_max_ps(peak);
}

// 16 codes as int32: round(value / scale), ties to even, within -127 to 127.
inline __m512i codes_of(__m512 values, __m512 scale) {
  const __m512i codes = _mm512_cvtps_epi32(_mm512_div_ps(values, scale));
  return _mm512_min_epi32(_mm512_max_epi32(codes, _mm512_set1_epi32(-127)), _mm512_set1_epi32(127));
}

struct RowCodes {
  float scale;
  int32_t sum;  // of the codes: what an offset on the other operand adds up to
};

// Quantizes `count` values to int8 codes, followed by zeros up to `padded`, a multiple of 16.
inline RowCodes quantize_row(const float* values, int64_t count, int8_t* codes, int64_t padded) {
  const float scale = scale_of(row_peak(values, count));
  const __m512 scales = _mm512_set1_ps(scale);
  __m512i sum = _mm512_setzero_si512();
  for (int64_t at = 0; at < padded; at += kLanes) {
    const __m512i row = codes_of(_mm512_maskz_loadu_ps(lanes_left(count - at), values + at), scales);
    sum = _mm512_add_epi32(sum, row);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + at), _mm512_cvtepi32_epi8(row));
  }
  return {scale, _mm512_reduce_add_epi32(sum)};
}

inline __m512i broadcast4(const void* bytes) { return _mm512_set1_epi32(*static_cast<const int32_t*>(bytes)); }

// Four rows' bytes side by side, as VNNI takes them; lane e of part i's quarter j is byte 16 j + 4 i + e.
inline void interleave(const __m512i (&rows)[4], __m512i (&parts)[4]) {
  const __m512i low01 = _mm512_unpacklo_epi8(rows[0], rows[1]), high01 = _mm512_unpackhi_epi8(rows[0], rows[1]);
  const __m512i low23 = _mm512_unpacklo_epi8(rows[2], rows[3]), high23 = _mm512_unpackhi_epi8(rows[2], rows[3]);
  parts[0] = _mm512_unpacklo_epi16(low01, low23);
  parts[1] = _mm512_unpackhi_epi16(low01, low23);
  parts[2] = _mm512_unpacklo_epi16(high01, high23);
  parts[3] = _mm512_unpackhi_epi16(high01, high23);
}

}  // namespace dqbart
