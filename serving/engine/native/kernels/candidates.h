// What is wanted of a row of logits, and the arithmetic that every way of finding it shares.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "codes.h"

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

namespace dqbart {

constexpr float kRuledOut = -std::numeric_limits<float>::infinity();
constexpr int64_t kBlock = 512;  // logits that are summed together, whoever computes them: the order is part of the bits

// e^x for x <= 0, within 2 units in the last place: 2^n * p(r), r = x - n ln 2, p as in Cephes.
inline Floats exponential(Floats x) {
  x = max(x, broadcast(-104.0f));
  const Floats n = round_to_whole(mul(x, broadcast(1.44269504f)));
  Floats r = fnmadd(n, broadcast(0.693359375f), x);
  r = fnmadd(n, broadcast(-2.12194440e-4f), r);
  Floats p = broadcast(1.9875691500e-4f);
  for (const float coefficient : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}) {
    p = fmadd(p, r, broadcast(coefficient));
  }
  p = add(fmadd(mul(r, r), p, r), broadcast(1.0f));
  return scale_by_power(p, n);
}

struct BlockSum {
  float peak;
  double sum;  // of the exponentials of logits - peak
};

// Of up to kBlock logits, summed lane by lane.
inline BlockSum block_sum(const float* logits, int64_t count) {
  const Floats lowest = broadcast(kRuledOut);
  Floats peaks = lowest;
  for (int64_t at = 0; at < count; at += kLanes) {
    peaks = max(peaks, load(lanes_left(count - at), logits + at, lowest));
  }
  const float peak = reduce_max(peaks);
  Doubles low = zero_doubles(), high = zero_doubles();
  for (int64_t at = 0; at < count; at += kLanes) {
    const Lanes lanes = lanes_left(count - at);
    const Floats shifted = sub(load(lanes, logits + at), broadcast(peak));
    const Floats e = select(lanes, exponential(shifted));
    low = add(low, low_doubles(e));
    high = add(high, high_doubles(e));
  }
  return {peak, reduce_add(add(low, high))};
}

struct Normalizer {
  float peak = 0.0f, log_sum = 0.0f;  // of the exponentials of logits - peak
  float log_probability(float logit) const { return (logit - peak) - log_sum; }
};

// Of a row from its blocks, in their order: it depends on nothing but the row.
inline Normalizer normalizer_of(const BlockSum* blocks, int64_t count) {
  float peak = kRuledOut;
  for (int64_t block = 0; block < count; ++block) peak = std::max(peak, blocks[block].peak);
  double sum = 0.0;
  for (int64_t block = 0; block < count; ++block) {
    sum += blocks[block].sum * std::exp(static_cast<double>(blocks[block].peak) - static_cast<double>(peak));
  }
  return {peak, static_cast<float>(std::log(sum))};
}

// A token whose value is edited, and its logit.
struct Edit {
  int64_t token;
  bool banned;
  float logit;
};

// Edits in the order of tokens, each once; a ban wins over a penalty.
inline std::vector<Edit> edits_of(const DqWanted& wanted) {
  std::vector<Edit> edits;
  for (int64_t edit = 0; edit < wanted.penalized + wanted.banned; ++edit) {
    edits.push_back({wanted.edits[edit], edit >= wanted.penalized, 0.0f});
  }
  std::sort(edits.begin(), edits.end(), [](const Edit& one, const Edit& other) {
    return one.token != other.token ? one.token < other.token : one.banned > other.banned;
  });
  const auto same = [](const Edit& one, const Edit& other) { return one.token == other.token; };
  edits.erase(std::unique(edits.begin(), edits.end(), same), edits.end());
  return edits;
}

// The value of a candidate: a logit or log-probability, edited.
inline float edited(const DqWanted& wanted, const Normalizer& normalizer, const Edit& edit) {
  if (edit.banned) return kRuledOut;
  const float value = wanted.log_probabilities != 0 ? normalizer.log_probability(edit.logit) : edit.logit;
  const auto penalty = static_cast<float>(wanted.repetition_penalty);
  return value < 0 ? value * penalty : value / penalty;
}

}  // namespace dqbart
