// The head and the choice of candidates in one: logits are scanned block by block while they are in the cache, and are never
// written to memory.
//
// Threads claim blocks of the vocabulary. Of a block it computes the logits of all rows, sums their exponentials where a
// normalizer is wanted, and keeps each row's best so far. Edited tokens are set aside with their logits, since a penalty on a
// log-probability needs the whole row's normalizer. At the end, what the threads found is merged: by value, equal values by the
// smaller token, so that it does not matter which thread found what.
#include "candidates.h"
#include "panels.h"
#include "team.h"

using namespace dqbart;

namespace {

constexpr int64_t kSerialBlocks = 512;  // sums of blocks that are added up sooner than helpers are called

// The best tokens of a row, in order.
struct Best {
  float* values;
  int64_t* tokens;
  int64_t count;
  int64_t found = 0;
  bool numbers = true;  // whether all logits that were scanned are

  // Keeps a candidate that is among the best, equal ones by the smaller token.
  void offer(float value, int64_t token) {
    const auto passes = [&](int64_t place) { return precedes(value, token, values[place], tokens[place]); };
    if (found == count && (count == 0 || !passes(count - 1))) return;
    int64_t place = std::min(found, count - 1);
    for (; place > 0 && passes(place - 1); --place) {
      values[place] = values[place - 1];
      tokens[place] = tokens[place - 1];
    }
    values[place] = value;
    tokens[place] = token;
    found = std::min(found + 1, count);
  }

  // Offers logits whose tokens follow all that were offered before; those set aside are NaN.
  void scan(const float* logits, int64_t first, int64_t size) {
    if (count == 0) return;
    for (int64_t at = 0; at < size; at += kLanes) {
      const Lanes lanes = lanes_left(size - at);
      const Floats row = load(lanes, logits + at);
      unsigned better = found < count ? are_numbers(row, lanes) : are_greater(row, broadcast(values[count - 1]), lanes);
      for (; better != 0; better &= better - 1) {
        const int64_t lane = __builtin_ctz(better);
        offer(logits[at + lane], first + at + lane);
      }
    }
  }
};

struct Row {
  std::vector<Edit> edits;
  bool sums;
};

// Takes the logits of edited tokens out of a block.
void set_aside(std::vector<Edit>& edits, float* logits, int64_t first, int64_t size) {
  auto edit = std::lower_bound(edits.begin(), edits.end(), first, [](const Edit& each, int64_t token) { return each.token < token; });
  for (; edit != edits.end() && edit->token < first + size; ++edit) {
    edit->logit = logits[edit->token - first];
    logits[edit->token - first] = std::numeric_limits<float>::quiet_NaN();
  }
}

void candidates(const DqLinear* head, const float* hidden, int64_t count, const DqWanted* wanted, int64_t most, float* values,
                int64_t* tokens, float* normalizers) {
  thread_local Workspace code_space, row_space, sum_space, value_space, token_space, logit_space;
  const int64_t padded = round_up(head->columns, kColumns), blocks = round_up(head->rows, kBlock) / kBlock;
  const int64_t threads = count * padded * head->rows < kSerialWork ? 1 : dq_team_size();
  auto* codes = static_cast<int8_t*>(code_space.get(count * padded));
  auto* row_codes = static_cast<RowCodes*>(row_space.get(count * sizeof(RowCodes)));
  auto* sums = static_cast<BlockSum*>(sum_space.get(count * blocks * sizeof(BlockSum)));
  auto* team_values = static_cast<float*>(value_space.get(threads * count * most * sizeof(float)));
  auto* team_tokens = static_cast<int64_t*>(token_space.get(threads * count * most * sizeof(int64_t)));
  auto* team_logits = static_cast<float*>(logit_space.get(threads * count * kBlock * sizeof(float)));
  std::vector<Row> rows(count);
  std::vector<Best> found(threads * count);
  for (int64_t row = 0; row < count; ++row) {
    row_codes[row] = quantize_row(hidden + row * head->columns, head->columns, codes + row * padded, padded);
    rows[row] = {edits_of(wanted[row]), wanted[row].normalizer != 0 || wanted[row].log_probabilities != 0};
  }
  for (int64_t each = 0; each < threads * count; ++each) {
    found[each] = {team_values + each * most, team_tokens + each * most, wanted[each % count].count};
  }
  const Tokens quantized{codes, row_codes, padded};
  in_parallel(blocks, threads, [&](int64_t block, int64_t thread) {
    float* logits = team_logits + thread * count * kBlock;
    const int64_t first = block * kBlock, size = std::min(kBlock, head->rows - first);
    const Output output{logits, kBlock, first, nullptr};
    for (int64_t panel = first / kPanel; panel * kPanel < first + size; ++panel) {
      panel_of_outputs(*head, panel, quantized, 0, count, output);
    }
    for (int64_t row = 0; row < count; ++row) {
      float* of_row = logits + row * kBlock;
      Best& best = found[thread * count + row];
      best.numbers &= all_numbers(of_row, size);
      if (rows[row].sums) sums[row * blocks + block] = block_sum(of_row, size);
      set_aside(rows[row].edits, of_row, first, size);
      best.scan(of_row, first, size);
    }
  });
  in_parallel(count, count * blocks < kSerialBlocks ? 1 : threads, [&](int64_t row, int64_t) {
    const Normalizer normalizer = rows[row].sums ? normalizer_of(sums + row * blocks, blocks) : Normalizer();
    normalizers[row] = normalizer.peak + normalizer.log_sum;
    Best best{values + row * most, tokens + row * most, wanted[row].count};
    bool numbers = true;
    for (int64_t thread = 0; thread < threads; ++thread) {
      const Best& part = found[thread * count + row];
      numbers &= part.numbers;
      for (int64_t place = 0; place < part.found; ++place) {
        const float logit = part.values[place];
        best.offer(wanted[row].log_probabilities != 0 ? normalizer.log_probability(logit) : logit, part.tokens[place]);
      }
    }
    for (const Edit& edit : rows[row].edits) best.offer(edited(wanted[row], normalizer, edit), edit.token);
    if (!numbers) no_numbers(wanted[row], values + row * most, tokens + row * most);
  });
}

}  // namespace

// For each row of hidden values [count, columns] what is wanted of its logits: values and tokens [count, most], of which the first
// `wanted.count` are written, and a normalizer a row where one is wanted.
extern "C" int32_t dq_head(const DqLinear* head, const float* hidden, int64_t count, const DqWanted* wanted, int64_t most,
                           float* values, int64_t* tokens, float* normalizers) {
  return answer_of([&] { candidates(head, hidden, count, wanted, most, values, tokens, normalizers); });
}
