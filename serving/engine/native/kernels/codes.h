// Float rows to 8-bit codes and integer sums back to values, with the bits of quant/numerics.py.
//
// Every operation here is a single IEEE operation in the order that numerics.py has, so that the bits are the same; the
// library is compiled with -ffp-contract=off, which keeps a product and a sum from becoming one rounding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "vectors.h"

namespace dqbart {

constexpr float kLevels = 127.0f;  // numerics.ACTIVATION_LEVELS

constexpr int64_t kSerialWork = 1 << 20;  // multiplications below which starting threads costs more than it saves

inline int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

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

// The scale of a row whose largest magnitude is `peak`: numerics.quantize_activation. NaN where one of the row is no finite
// number, so that all that is computed of it is NaN.
inline float scale_of(float peak) {
  const float scale = peak / kLevels;
  return scale == 0.0f ? 1.0f : scale + (scale - scale);
}

inline float row_peak(const float* values, int64_t count) {
  // Of magnitudes, the bits are ordered as the numbers are, with NaN above all: it is never passed over.
  Ints peak = broadcast(0);
  for (int64_t at = 0; at < count; at += kLanes) {
    peak = max(peak, magnitude_bits(load(lanes_left(count - at), values + at)));
  }
  const int32_t bits = reduce_max(peak);
  float found;
  std::memcpy(&found, &bits, sizeof(found));
  return found;
}

// 16 codes as int32: round(value / scale), ties to even, within -127 to 127.
inline Ints codes_of(Floats values, Floats scale) {
  const Ints codes = to_ints(div(values, scale));
  return min(max(codes, broadcast(-127)), broadcast(127));
}

struct RowCodes {
  float scale;
  int32_t sum;  // of the codes: what an offset on the other operand adds up to
};

// Quantizes `count` values to int8 codes, followed by zeros up to `padded`, a multiple of 16.
inline RowCodes quantize_row(const float* values, int64_t count, int8_t* codes, int64_t padded) {
  const float scale = scale_of(row_peak(values, count));
  const Floats scales = broadcast(scale);
  Ints sum = broadcast(0);
  for (int64_t at = 0; at < padded; at += kLanes) {
    const Ints row = codes_of(load(lanes_left(count - at), values + at), scales);
    sum = add(sum, row);
    store_low_bytes(codes + at, row);
  }
  return {scale, reduce_add(sum)};
}

// Four rows' bytes side by side, as products take them; lane e of part i's quarter j is byte 16 j + 4 i + e.
inline void interleave(const Ints (&rows)[4], Ints (&parts)[4]) {
  const Ints low01 = zip_low8(rows[0], rows[1]), high01 = zip_high8(rows[0], rows[1]);
  const Ints low23 = zip_low8(rows[2], rows[3]), high23 = zip_high8(rows[2], rows[3]);
  parts[0] = zip_low16(low01, low23);
  parts[1] = zip_high16(low01, low23);
  parts[2] = zip_low16(high01, high23);
  parts[3] = zip_high16(high01, high23);
}

}  // namespace dqbart
