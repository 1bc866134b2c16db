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
constexpr int64_t kBuckets = 1024;
constexpr float kBucketsPerUnit = 40.0f;  // the weight of what is beyond the last bucket is 0

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

struct Drawable {
  float logit;
  int32_t token;
  double weight;
};

// A row's tokens that have any weight, in buckets.
class Row {
 public:
  Row(const float* logits, int64_t vocabulary, float best, float divisor)
      : logits_(logits), vocabulary_(vocabulary), best_(broadcast(best)), divisor_(broadcast(divisor)), buckets_(vocabulary) {
    each_sixteen([&](int64_t at, int64_t lanes, const float* shifted, const double* weights) {
      for (int64_t lane = 0; lane < lanes; ++lane) {
        const auto bucket = static_cast<uint16_t>(weights[lane] > 0 ? -shifted[lane] * kBucketsPerUnit : kBuckets);
        buckets_[at + lane] = bucket;
        masses_[bucket] += weights[lane];
        ++counts_[bucket];
      }
    });
  }

  // The summed weights of the first `count` tokens.
  double mass_of(int64_t count) {
    double mass = 0;
    for (int64_t bucket = 0; bucket < kBuckets; ++bucket) {
      if (counts_[bucket] > count) {
        for (const Drawable& each : sorted(bucket)) {
          if (count-- == 0) break;
          mass += each.weight;
        }
        return mass;
      }
      mass += masses_[bucket];
      count -= counts_[bucket];
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
      if (!reached(mass + masses_[bucket])) {
        mass += masses_[bucket];
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
  template <typename Work>
  void each_sixteen(const Work& work) const {
    alignas(64) float shifted[kLanes];
    alignas(64) double weights[kLanes];
    for (int64_t at = 0; at < vocabulary_; at += kLanes) {
      const int64_t lanes = std::min<int64_t>(kLanes, vocabulary_ - at);
      const Floats values = div(sub(load(lanes_left(lanes), logits_ + at), best_), divisor_);
      const Weights found = weights_of(values);
      store(shifted, values);
      store(weights, found.low);
      store(weights + 8, found.high);
      work(at, lanes, shifted, weights);
    }
  }

  // A bucket's tokens in their order.
  const std::vector<Drawable>& sorted(int64_t bucket) {
    if (bucket == sorted_bucket_) return sorted_;
    sorted_.clear();
    sorted_bucket_ = bucket;
    alignas(64) double weights[kLanes];
    for (int64_t token = 0; token < vocabulary_; ++token) {
      if (buckets_[token] != bucket) continue;
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
  std::vector<uint16_t> buckets_;  // of each token
  std::array<double, kBuckets + 1> masses_{};
  std::array<int64_t, kBuckets + 1> counts_{};
  std::vector<Drawable> sorted_;
  int64_t sorted_bucket_ = -1;
};

void draw(float* logits, int64_t vocabulary, const DqWanted& wanted, const DqDraws& draws, float* values, int64_t* tokens,
          float* normalizer) {
  const Normalizer found = edit(logits, vocabulary, wanted);
  *normalizer = found.peak + found.log_sum;
  const float best = *std::max_element(logits, logits + vocabulary);
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
                           float* values, int64_t* tokens, float* normalizers, int64_t threads) {
  return answer_of([&] {
    in_parallel(rows, threads, [&](int64_t row) {
      float *of_row = logits + row * vocabulary, *drawn = values + row * most;
      int64_t* drawn_tokens = tokens + row * most;
      if (!all_numbers(of_row, vocabulary)) return no_numbers(wanted[row], drawn, drawn_tokens);
      draw(of_row, vocabulary, wanted[row], draws[row], drawn, drawn_tokens, normalizers + row);
    });
  });
}
