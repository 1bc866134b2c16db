// All of a row's candidates in order, for requests that want a large part of the vocabulary; head.cpp has the others.
#include "candidates.h"

#include <numeric>

#include "team.h"

using namespace dqbart;

namespace {

void select(float* logits, int64_t vocabulary, const DqWanted& wanted, float* best, int64_t* tokens, float* normalizer) {
  const Normalizer found = edit(logits, vocabulary, wanted);
  *normalizer = found.peak + found.log_sum;
  thread_local Workspace order_space;
  auto* order = static_cast<int32_t*>(order_space.get(vocabulary * sizeof(int32_t)));
  std::iota(order, order + vocabulary, 0);
  std::partial_sort(order, order + wanted.count, order + vocabulary,
                    [&](int32_t one, int32_t other) { return precedes(logits[one], one, logits[other], other); });
  for (int64_t place = 0; place < wanted.count; ++place) {
    tokens[place] = order[place];
    best[place] = logits[order[place]];
  }
}

}  // namespace

// For each row of logits [rows, vocabulary] what is wanted of it: values and tokens [rows, most], of which the first `count` are
// written, and a normalizer a row. Edits the logits.
extern "C" int32_t dq_select(float* logits, int64_t rows, int64_t vocabulary, const DqWanted* wanted, int64_t most, float* values,
                             int64_t* tokens, float* normalizers) {
  return answer_of([&] {
    in_parallel(rows, dq_team_size(), [&](int64_t row, int64_t) {
      float *of_row = logits + row * vocabulary, *best = values + row * most;
      int64_t* best_tokens = tokens + row * most;
      if (!all_numbers(of_row, vocabulary)) return no_numbers(wanted[row], best, best_tokens);
      select(of_row, vocabulary, wanted[row], best, best_tokens, normalizers + row);
    });
  });
}
