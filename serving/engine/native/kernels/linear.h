// A linear layer over packed codes; see panels.h for the layout.
#pragma once

#include <cstdint>

extern "C" {

struct DqLinear {
  int64_t rows;          // outputs
  int64_t columns;       // inputs
  int64_t bits;          // 2, 4 or 8
  const uint8_t* codes;  // panels of 32 outputs
  const float* scale;    // [rows padded to 32]
  const float* bias;     // [rows padded to 32], or null
};

}  // extern "C"

namespace dqbart {

constexpr int64_t kPanel = 32;    // outputs of a panel: two vectors of int32 sums
constexpr int64_t kColumns = 16;  // columns are padded to this

// Codes are stored without sign, as code + offset.
inline int32_t offset_of(int64_t bits) { return bits == 2 ? 1 : bits == 4 ? 8 : 128; }

// Bytes of a panel of `padded` columns.
inline int64_t panel_bytes(int64_t padded, int64_t bits) { return kPanel * padded * bits / 8; }

}  // namespace dqbart
