// Vectors of 16 lanes: the only place, with products.h, that knows the instruction set which the kernels are compiled for.
//
// A vector is 16 floats, 16 int32 or 64 bytes in either, so that layouts in memory are the same; both give the same bits.
#pragma once

#include <cstdint>

namespace dqbart {

constexpr int kLanes = 16;        // float or int32 lanes of a vector
constexpr int kVectorBytes = 64;  // bytes of a vector

}  // namespace dqbart

#ifdef __AVX512VNNI__
#include "vectors_avx512.h"
#else
#include "vectors_avx2.h"
#endif
