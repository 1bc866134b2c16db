// Functions of PyTorch on float32 rows, with its bits: the same operations in the same order as its code for this CPU.
//
// A softmax is summed in vectors of 16 with AVX-512, and of 8 with AVX2, whichever PyTorch has chosen (torch_lanes). Normalization
// is by vectors of 8 in either; where a product and a sum are one operation here, PyTorch's compiler has made them one. The
// exponential is that of SLEEF, which PyTorch takes it from.
#pragma once

#include <algorithm>
#include <cmath>

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

// Mean and summed squared deviations, in each of 8 lanes, of so many vectors.
struct TorchMoments {
  int64_t count = 0;
  __m256 mean = _mm256_setzero_ps(), squares = _mm256_setzero_ps();

  void add(const TorchMoments& other) {
    const int64_t both = count + other.count;
    const __m256 share = _mm256_set1_ps(both == 0 ? 0.0f : static_cast<float>(other.count) / static_cast<float>(both));
    const __m256 delta = _mm256_sub_ps(other.mean, mean), shared = _mm256_mul_ps(share, delta);
    const __m256 weighed = _mm256_mul_ps(delta, _mm256_set1_ps(static_cast<float>(count)));
    squares = _mm256_fmadd_ps(weighed, shared, _mm256_add_ps(squares, other.squares));
    mean = _mm256_add_ps(mean, shared);
    count = both;
  }

  // Of the vectors that begin at `row`.
  static TorchMoments of(const float* row, int64_t vectors) {
    TorchMoments found;
    for (int64_t each = 0; each < vectors; ++each) {
      const __m256 x = _mm256_loadu_ps(row + 8 * each), delta = _mm256_sub_ps(x, found.mean);
      found.mean = _mm256_fmadd_ps(_mm256_set1_ps(1.0f / static_cast<float>(each + 1)), delta, found.mean);
      found.squares = _mm256_fmadd_ps(delta, _mm256_sub_ps(x, found.mean), found.squares);
    }
    found.count = vectors;
    return found;
  }
};

// (row - mean) / sqrt(variance + epsilon) * weight + bias; `out` may be `row`.
inline void torch_layer_norm(const float* row, int64_t count, const float* weight, const float* bias, float epsilon, float* out) {
  constexpr int64_t kChunk = 16, kMostLevels = 48;
  const int64_t vectors = count / 8, chunks = (vectors + kChunk - 1) / kChunk;
  // Sums of 1, 2, 4, ... chunks: two of a level make one of the next.
  int64_t levels = 0;
  while ((int64_t(1) << levels) < chunks) ++levels;
  TorchMoments sums[kMostLevels];
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    sums[0].add(TorchMoments::of(row + 8 * kChunk * chunk, std::min(kChunk, vectors - kChunk * chunk)));
    for (int64_t level = 1; level < levels && (chunk + 1) % (int64_t(1) << level) == 0; ++level) {
      sums[level].add(sums[level - 1]);
      sums[level - 1] = TorchMoments();
    }
  }
  for (int64_t level = 1; level < levels; ++level) sums[0].add(sums[level]);

  float mean = 0.0f, squares = 0.0f;
  int64_t met = 0;
  for (int64_t at = 8 * vectors; at < count; ++at) {
    const float delta = row[at] - mean;
    mean += delta / static_cast<float>(++met);
    squares += delta * (row[at] - mean);
  }
  alignas(32) float means[8], parts[8];
  _mm256_store_ps(means, sums[0].mean);
  _mm256_store_ps(parts, sums[0].squares);
  for (int lane = 0; lane < 8; ++lane) {
    const int64_t both = met + vectors;
    const float share = both == 0 ? 0.0f : static_cast<float>(vectors) / static_cast<float>(both), delta = means[lane] - mean;
    mean = std::fma(share, delta, mean);
    squares += std::fma(delta * delta * share, static_cast<float>(met), parts[lane]);
    met = both;
  }
  const Floats shift = broadcast(-mean), scale = broadcast(1.0f / std::sqrt(squares / static_cast<float>(count) + epsilon));
  for (int64_t at = 0; at < count; at += kLanes) {
    const Lanes lanes = lanes_left(count - at);
    const Floats normal = mul(add(load(lanes, row + at), shift), scale);
    store(out + at, fmadd(normal, load(lanes, weight + at), load(lanes, bias + at)), lanes);
  }
}

}  // namespace dqbart
