// Exact int32 sums of products of 8-bit codes, the inner loops of everything else.
//
// One operand is unsigned, the other signed, as instructions want it. What was added to codes to make them unsigned is taken off
// the sums again: offset * sum(the other operand's codes), where the offset is that of the layer below.
#pragma once

#include "codes.h"
#include "linear.h"

#ifdef __AVX512VNNI__
#include "products_avx512.h"
#else
#include "products_avx2.h"
#endif
