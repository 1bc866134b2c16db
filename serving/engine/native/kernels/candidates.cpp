// The best tokens of each row of logits, edited as a request asks: what serving/engine/runner.py calls Wanted and Candidates.
//
// Logits are edited where they lie, in the buffer that the head wrote, and scanned once for the best; nothing of the size of the
// vocabulary is copied or sorted, except for a request that wants a large part of it.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "codes.h"

using namespace dqbart;

extern "C" {

// What is wanted of a row; `edits` are tokens, first the penalized ones, then the banned ones.
struct DqWanted {
  int64_t count;
  int64_t log_probabilities;  // 1: values are log-probabilities, 0: logits
  int64_t normalizer;         // 1: the log-normalizer is wanted
  int64_t penalized;          // how many
  int64_t banned;             // how many
  double repetition_penalty;
  const int64_t* edits;
};

}  // extern "C"

namespace {

constexpr int64_t kScanned = 128;  // up to so many are found by one scan with insertion, more by partial sorting
constexpr float kRuledOut = -std::numeric_limits<float>::infinity();

// e^x for x <= 0, within 2 units in the last place: 2^n * p(r), r = x - n ln 2, p as in Cephes.
inline __m512 exponential(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(-104.0f));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  for (const float coefficient : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}) {
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(coefficient));
  }
  p = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r), _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

struct Normalizer {
  float peak, log_sum;  // of the exponentials of logits - peak
};

// Summed in double, lane by lane in a fixed order: a row's normalizer depends on nothing but the row.
Normalizer normalizer_of(const float* logits, int64_t count) {
  const __m512 lowest = _mm512_set1_ps(kRuledOut);
  __m512 peaks = lowest;
  for (int64_t at = 0; at < count; at += kLanes) {
    peaks = _mm512_max_ps(peaks, _mm512_mask_loadu_ps(lowest, lanes_left(count - at), logits + at));
  }
  const float peak = _mm512_reduce_max_ps(peaks);
  __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();
  for (int64_t at = 0; at < count; at += kLanes) {
    const __mmask16 mask = lanes_left(count - at);
    const __m512 shifted = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, logits + at), _mm512_set1_ps(peak));
    const __m512 e = _mm512_maskz_mov_ps(mask, exponential(shifted));
    low = _mm512_add_pd(low, _mm512_cvtps_pd(_mm512_castps512_ps256(e)));
    high = _mm512_add_pd(high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(e, 1)));
  }
  return {peak, static_cast<float>(std::log(_mm512_reduce_add_pd(_mm512_add_pd(low, high))))};
}

void to_log_probabilities(float* logits, int64_t count, const Normalizer& normalizer) {
  const __m512 peak = _mm512_set1_ps(normalizer.peak), log_sum = _mm512_set1_ps(normalizer.log_sum);
  for (int64_t at = 0; at < count; at += kLanes) {
    const __mmask16 mask = lanes_left(count - at);
    const __m512 shifted = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, logits + at), peak);
    _mm512_mask_storeu_ps(logits + at, mask, _mm512_sub_ps(shifted, log_sum));
  }
}

// The best `count` of `values` by one scan, equal values by the smaller token.
void scan(const float* values, int64_t vocabulary, int64_t count, float* best, int64_t* tokens) {
  std::fill(best, best + count, kRuledOut);
  std::fill(tokens, tokens + count, int64_t(-1));
  int64_t found = 0;
  for (int64_t at = 0; at < vocabulary; at += kLanes) {
    const __mmask16 mask = lanes_left(vocabulary - at);
    const __m512 row = _mm512_maskz_loadu_ps(mask, values + at);
    unsigned better = found < count ? mask : _mm512_mask_cmp_ps_mask(mask, row, _mm512_set1_ps(best[count - 1]), _CMP_GT_OQ);
    for (; better != 0; better &= better - 1) {
      const int64_t token = at + __builtin_ctz(better);
      const float value = values[token];
      if (found == count && !(value > best[count - 1])) continue;
      int64_t place = std::min(found, count - 1);
      for (; place > 0 && value > best[place - 1]; --place) {
        best[place] = best[place - 1];
        tokens[place] = tokens[place - 1];
      }
      best[place] = value;
      tokens[place] = token;
      found = std::min(found + 1, count);
    }
  }
}

void sort(const float* values, int64_t vocabulary, int64_t count, float* best, int64_t* tokens) {
  std::vector<int32_t> order(vocabulary);
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int32_t one, int32_t other) {
    return values[one] != values[other] ? values[one] > values[other] : one < other;
  });
  for (int64_t place = 0; place < count; ++place) {
    tokens[place] = order[place];
    best[place] = values[order[place]];
  }
}

void select(float* logits, int64_t vocabulary, const DqWanted& wanted, float* best, int64_t* tokens, float* normalizer) {
  if (wanted.normalizer != 0 || wanted.log_probabilities != 0) {
    const Normalizer found = normalizer_of(logits, vocabulary);
    *normalizer = found.peak + found.log_sum;
    if (wanted.log_probabilities != 0) to_log_probabilities(logits, vocabulary, found);
  }
  const auto penalty = static_cast<float>(wanted.repetition_penalty);
  for (int64_t edit = 0; edit < wanted.penalized; ++edit) {
    float& value = logits[wanted.edits[edit]];
    value = value < 0 ? value * penalty : value / penalty;
  }
  for (int64_t edit = 0; edit < wanted.banned; ++edit) logits[wanted.edits[wanted.penalized + edit]] = kRuledOut;
  if (wanted.count == 0) return;
  if (wanted.count <= kScanned) {
    scan(logits, vocabulary, wanted.count, best, tokens);
  } else {
    sort(logits, vocabulary, wanted.count, best, tokens);
  }
}

}  // namespace

// For each row of logits [rows, vocabulary] what is wanted of it: values and tokens [rows, most], of which the first `count` are
// written, and a normalizer a row. Edits the logits.
extern "C" void dq_select(float* logits, int64_t rows, int64_t vocabulary, const DqWanted* wanted, int64_t most, float* values,
                          int64_t* tokens, float* normalizers, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (rows > 1) schedule(dynamic)
  for (int64_t row = 0; row < rows; ++row) {
    select(logits + row * vocabulary, vocabulary, wanted[row], values + row * most, tokens + row * most, normalizers + row);
  }
}
