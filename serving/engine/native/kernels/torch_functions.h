// Functions of PyTorch on float32 rows, with its bits: the same operations in the same order as its code for this CPU.
//
// Rows are summed in vectors of 16 with AVX-512, and of 8 with AVX2, whichever PyTorch has chosen (torch_lanes); the rest does not
// depend on the size of a vector. The exponential is that of SLEEF, which PyTorch takes it from.
#pragma once

#include <algorithm>
#include <limits>

#include "codes.h"

namespace dqbart {

// Lanes of PyTorch's vectors, 16 or 8.
extern int64_t torch_lanes;

// Sleef_expf_u10 of x <= 0.
inline Floats torch_exponential(Floats x) {
  const Floats n = round_to_whole(mul(x, broadcast(1.442695040888963407359924681001892137426645954152985934135449406931f)));
  const Floats r = fnmadd(n, broadcast(1.428606765330187045e-06f), fnmadd(n, broadcast(0.693145751953125f), x));
  Floats p = broadcast(0.000198527617612853646278381f);
  for (const float coefficient : {0.00139304355252534151077271f, 0.00833336077630519866943359f, 0.0416664853692054748535156f,
                                  0.166666671633720397949219f, 0.5f}) {
    p = fmadd(p, r, broadcast(coefficient));
  }
  p = add(broadcast(1.0f), fmadd(mul(r, r), p, r));
  return zero_below(scale_by_power(p, n), x, -104.0f);
}

inline float torch_sum(__m256 values) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps(values, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// Makes a row of scores, a multiple of 16, their softmax.
inline void torch_softmax(float* row, int64_t count) {
  Floats peaks = load(row);
  for (int64_t at = kLanes; at < count; at += kLanes) peaks = max(peaks, load(row + at));
  const Floats peak = broadcast(reduce_max(peaks));
  Floats sum = broadcast(0.0f);
  __m256 half = _mm256_setzero_ps();
  const bool halves = torch_lanes == 8;
  for (int64_t at = 0; at < count; at += kLanes) {
    const Floats e = torch_exponential(sub(load(row + at), peak));
    store(row + at, e);
    if (halves) half = _mm256_add_ps(_mm256_add_ps(half, low_half(e)), high_half(e));
    else sum = add(sum, e);
  }
  const Floats factor = broadcast(1.0f / torch_sum(halves ? half : _mm256_add_ps(low_half(sum), high_half(sum))));
  for (int64_t at = 0; at < count; at += kLanes) store(row + at, mul(load(row + at), factor));
}

}  // namespace dqbart
