// Tokens drawn from whole rows of logits, with the bits of pytorch/draws.py, without sorting a row.
//
// Weights are whole numbers, whose sums are exact in any order. So tokens are thrown into buckets that follow one another in the
// order of values, and only the buckets in which the distribution is cut, or a drawn number falls, are sorted.
#include <array>

#include "candidates.h"
#include "team.h"

using namespace dqbart;

extern "C" {

// How a row is drawn from: Draws in runner.py.
struct DqDraws {
  const double* numbers;  // as many as DqWanted.count
  double divisor;         // a float
  double top_p;
  int64_t top_k;          // 0 is off
};

}  // extern "C"

namespace {

constexpr float kLeast = -30.0f;         // the exponential is below half a unit
constexpr double kUnits = 4294967296.0;  // runner.UNITS
constexpr float kBucketsPerUnit = 40.0f;
constexpr int64_t kBuckets = 1201;  // from 0 to kLeast

struct Weights {
  Doubles low, high;
};

// Of 16 shifted logits, (logit - best) / divisor: the exponential of pytorch/draws.py in whole units.
inline Weights weights_of(Floats shifted) {
  const Floats x = max(shifted, broadcast(kLeast));
  const Floats n = round_to_whole(mul(x, broadcast(1.44269504f)));
  const Floats r = sub(sub(x, mul(n, broadcast(0.693359375f))), mul(n, broadcast(-2.12194440e-4f)));
  Floats p = broadcast(1.9875691500e-4f);
  for (const float coefficient : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}) {
    p = add(mul(p, r), broadcast(coefficient));
  }
  p = scale_by_power(add(add(mul(p, mul(r, r)), r), broadcast(1.0f)), n);
  const Doubles units = broadcast(kUnits);
  return {round_to_whole(mul(low_doubles(p), units)), round_to_whole(mul(high_doubles(p), units))};
}

struct Bucket {
  double mass = 0;  // summed weights
  int64_t count = 0;
};

struct Drawable {
  float logit;
  int32_t token;
  double weight;
};

// A row's tokens in buckets.
class Row {
 public:
  Row(const float* logits, int64_t vocabulary, float best, float divisor)
      : logits_(logits), vocabulary_(vocabulary), best_(broadcast(best)), divisor_(broadcast(divisor)) {
    thread_local Workspace bucket_space;
    buckets_ = static_cast<uint16_t*>(bucket_space.get(vocabulary * sizeof(uint16_t)));
    alignas(64) int32_t numbers[kLanes];
    alignas(64) double weights[kLanes];
    for (int64_t at = 0; at < vocabulary; at += kLanes) {
      const int64_t lanes = std::min<int64_t>(kLanes, vocabulary - at);
      const Floats shifted = div(sub(load(lanes_left(lanes), logits + at), best_), divisor_);
      const Weights found = weights_of(shifted);
      // Far below, where weights are 0, the bucket is the last one.
      store(numbers, to_ints(mul(max(shifted, broadcast(kLeast)), broadcast(-kBucketsPerUnit))));
      store(weights, found.low);
      store(weights + 8, found.high);
      for (int64_t lane = 0; lane < lanes; ++lane) {
        Bucket& bucket = found_[numbers[lane]];
        buckets_[at + lane] = static_cast<uint16_t>(numbers[lane]);
        bucket.mass += weights[lane];
        ++bucket.count;
      }
    }
  }

  // The summed weights of the first `count` tokens.
  double mass_of(int64_t count) {
    double mass = 0;
    for (int64_t bucket = 0; bucket < kBuckets; ++bucket) {
      if (found_[bucket].count > count) {
        for (const Drawable& each : sorted(bucket)) {
          if (count-- == 0) break;
          mass += each.weight;
        }
        return mass;
      }
      mass += found_[bucket].mass;
      count -= found_[bucket].count;
    }
    return mass;
  }

  struct Found {
    Drawable token;
    double mass;  // summed up to it
  };

  // The first token with which the summed weights satisfy `reached`, as those of all tokens do.
  template <typename Reached>
  Found first(const Reached& reached) {
    double mass = 0;
    for (int64_t bucket = 0; bucket < kBuckets; ++bucket) {
      if (!reached(mass + found_[bucket].mass)) {
        mass += found_[bucket].mass;
        continue;
      }
      for (const Drawable& each : sorted(bucket)) {
        mass += each.weight;
        if (reached(mass)) return {each, mass};
      }
    }
    return {};
  }

 private:
  // Whether any of 64 buckets is the wanted one; without branches, so that compilers make vectors of it.
  static bool among(const uint16_t* buckets, uint16_t wanted) {
    uint16_t found = 0;
    for (int64_t each = 0; each < 64; ++each) found |= static_cast<uint16_t>(buckets[each] == wanted);
    return found != 0;
  }

  // A bucket's tokens in their order.
  const std::vector<Drawable>& sorted(int64_t bucket) {
    if (bucket == sorted_bucket_) return sorted_;
    sorted_.clear();
    sorted_bucket_ = bucket;
    alignas(64) double weights[kLanes];
    const auto wanted = static_cast<uint16_t>(bucket);
    for (int64_t token = 0; token < vocabulary_; ++token) {
      // Most have none of the bucket: 64 are passed at once.
      while (token + 64 <= vocabulary_ && !among(buckets_ + token, wanted)) token += 64;
      if (token >= vocabulary_ || buckets_[token] != wanted) continue;
      const Weights found = weights_of(div(sub(broadcast(logits_[token]), best_), divisor_));
      store(weights, found.low);
      sorted_.push_back({logits_[token], static_cast<int32_t>(token), weights[0]});
    }
    std::sort(sorted_.begin(), sorted_.end(), [](const Drawable& one, const Drawable& other) {
      return precedes(one.logit, one.token, other.logit, other.token);
    });
    return sorted_;
  }

  const float* logits_;
  int64_t vocabulary_;
  Floats best_, divisor_;
  uint16_t* buckets_;  // of each token
  std::array<Bucket, kBuckets> found_{};
  std::vector<Drawable> sorted_;
  int64_t sorted_bucket_ = -1;
};

void draw(float* logits, int64_t vocabulary, const DqWanted& wanted, const DqDraws& draws, float* values, int64_t* tokens,
          float* normalizer) {
  const Normalizer found = edit(logits, vocabulary, wanted);
  *normalizer = found.peak + found.log_sum;
  const float best = peak_of(logits, vocabulary);
  if (best == kRuledOut) {
    // Where no token is left, the first one stands for all.
    std::fill_n(values, wanted.count, kRuledOut);
    std::fill_n(tokens, wanted.count, 0);
    return;
  }
  Row row(logits, vocabulary, best, static_cast<float>(draws.divisor));
  const double kept = row.mass_of(draws.top_k == 0 ? vocabulary : draws.top_k), cut = draws.top_p * kept;
  const double whole = row.first([&](double mass) { return mass >= cut; }).mass;
  for (int64_t each = 0; each < wanted.count; ++each) {
    const double passed = draws.numbers[each] * whole;
    const Drawable token = row.first([&](double mass) { return mass > passed || mass == whole; }).token;
    values[each] = token.logit;
    tokens[each] = token.token;
  }
}

}  // namespace

// As dq_select, of rows that are drawn from.
extern "C" int32_t dq_draw(float* logits, int64_t rows, int64_t vocabulary, const DqWanted* wanted, const DqDraws* draws, int64_t most,
                           float* values, int64_t* tokens, float* normalizers) {
  return answer_of([&] {
    in_parallel(rows, dq_team_size(), [&](int64_t row, int64_t) {
      float *of_row = logits + row * vocabulary, *drawn = values + row * most;
      int64_t* drawn_tokens = tokens + row * most;
      if (!all_numbers(of_row, vocabulary)) return no_numbers(wanted[row], drawn, drawn_tokens);
      draw(of_row, vocabulary, wanted[row], draws[row], drawn, drawn_tokens, normalizers + row);
    });
  });
}
