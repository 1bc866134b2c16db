// What is wanted of a row of logits, and the arithmetic that every way of finding it shares.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "codes.h"

extern "C" {

// What is wanted of a row; edited tokens ascend.
struct DqWanted {
  int64_t count;
  int64_t log_probabilities;  // 1: values are log-probabilities, 0: logits
  int64_t normalizer;         // 1: the log-normalizer is wanted
  int64_t penalized_count;
  int64_t banned_count;
  double repetition_penalty;
  const int64_t* penalized;
  const int64_t* banned;
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

// The largest of logits.
inline float peak_of(const float* logits, int64_t count) {
  const Floats lowest = broadcast(kRuledOut);
  Floats peaks = lowest;
  for (int64_t at = 0; at < count; at += kLanes) {
    peaks = max(peaks, load(lanes_left(count - at), logits + at, lowest));
  }
  return reduce_max(peaks);
}

// Of up to kBlock logits, summed lane by lane.
inline BlockSum block_sum(const float* logits, int64_t count) {
  const float peak = peak_of(logits, count);
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
  edits.reserve(wanted.penalized_count + wanted.banned_count);
  const int64_t *penalized = wanted.penalized, *banned = wanted.banned;
  const int64_t *penalized_end = penalized + wanted.penalized_count, *banned_end = banned + wanted.banned_count;
  while (penalized < penalized_end || banned < banned_end) {
    const bool bans = penalized == penalized_end || (banned < banned_end && *banned <= *penalized);
    const int64_t token = bans ? *banned++ : *penalized++;
    if (bans && penalized < penalized_end && *penalized == token) ++penalized;
    edits.push_back({token, bans, 0.0f});
  }
  return edits;
}

// The value of a candidate: a logit or log-probability, edited.
inline float edited(const DqWanted& wanted, const Normalizer& normalizer, const Edit& edit) {
  if (edit.banned) return kRuledOut;
  const float value = wanted.log_probabilities != 0 ? normalizer.log_probability(edit.logit) : edit.logit;
  const auto penalty = static_cast<float>(wanted.repetition_penalty);
  return value < 0 ? value * penalty : value / penalty;
}

// Makes a whole row of logits the values of candidates; its normalizer, where it is wanted.
inline Normalizer edit(float* logits, int64_t vocabulary, const DqWanted& wanted) {
  Normalizer normalizer;
  if (wanted.normalizer != 0 || wanted.log_probabilities != 0) {
    thread_local Workspace block_space;
    const int64_t blocks = round_up(vocabulary, kBlock) / kBlock;
    auto* sums = static_cast<BlockSum*>(block_space.get(blocks * sizeof(BlockSum)));
    for (int64_t block = 0; block < blocks; ++block) {
      sums[block] = block_sum(logits + block * kBlock, std::min(kBlock, vocabulary - block * kBlock));
    }
    normalizer = normalizer_of(sums, blocks);
  }
  std::vector<Edit> edits = edits_of(wanted);
  for (Edit& each : edits) each.logit = logits[each.token];
  if (wanted.log_probabilities != 0) {
    for (int64_t token = 0; token < vocabulary; ++token) logits[token] = normalizer.log_probability(logits[token]);
  }
  for (const Edit& each : edits) logits[each.token] = edited(wanted, normalizer, each);
  return normalizer;
}

// The order of candidates: by value, equal values by the smaller token.
inline bool precedes(float value, int64_t token, float other, int64_t other_token) {
  return value > other || (value == other && token < other_token);
}

// Whether no logit is NaN or infinity.
inline bool all_numbers(const float* logits, int64_t count) {
  const Floats infinity = broadcast(std::numeric_limits<float>::infinity());
  for (int64_t at = 0; at < count; at += kLanes) {
    const Lanes lanes = lanes_left(count - at), all = lanes_left(kLanes);
    if (are_greater(infinity, load(lanes, logits + at), all) != 0xffff) return false;
  }
  return true;
}

// The answer for a row of which no candidate can be told.
inline void no_numbers(const DqWanted& wanted, float* values, int64_t* tokens) {
  std::fill_n(values, wanted.count, std::numeric_limits<float>::quiet_NaN());
  std::fill_n(tokens, wanted.count, 0);
}

}  // namespace dqbart
