// All of a row's candidates in order, for requests that want a large part of the vocabulary; head.cpp has the others.
#include "candidates.h"

#include <omp.h>

#include <numeric>

using namespace dqbart;

namespace {

void select(float* logits, int64_t vocabulary, const DqWanted& wanted, float* best, int64_t* tokens, float* normalizer) {
  std::vector<BlockSum> blocks;
  for (int64_t at = 0; at < vocabulary; at += kBlock) blocks.push_back(block_sum(logits + at, std::min(kBlock, vocabulary - at)));
  const Normalizer found = normalizer_of(blocks.data(), static_cast<int64_t>(blocks.size()));
  *normalizer = found.peak + found.log_sum;
  std::vector<Edit> edits = edits_of(wanted);
  for (Edit& edit : edits) edit.logit = logits[edit.token];
  if (wanted.log_probabilities != 0) {
    for (int64_t token = 0; token < vocabulary; ++token) logits[token] = found.log_probability(logits[token]);
  }
  for (const Edit& edit : edits) logits[edit.token] = edited(wanted, found, edit);
  std::vector<int32_t> order(vocabulary);
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + wanted.count, order.end(), [&](int32_t one, int32_t other) {
    return logits[one] != logits[other] ? logits[one] > logits[other] : one < other;
  });
  for (int64_t place = 0; place < wanted.count; ++place) {
    tokens[place] = order[place];
    best[place] = logits[order[place]];
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
