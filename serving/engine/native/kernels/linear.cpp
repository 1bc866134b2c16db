// Linear layers and embeddings over packed weights.
#include <algorithm>

#include "codes.h"
#include "linear.h"
#include "panels.h"
#include "team.h"

using namespace dqbart;

namespace {

constexpr int64_t kTokensPerChunk = 192;  // tokens whose codes stay in the second-level cache

}  // namespace

// float32 [count, columns] to [count, rows], `residual` added when there is one. `out` may be `residual`.
extern "C" int32_t dq_linear(const DqLinear* linear, const float* tokens, int64_t count, const float* residual, float* out,
                             int64_t threads) {
  return answer_of([&] {
    thread_local Workspace code_space, row_space;
    const int64_t padded = round_up(linear->columns, kColumns), panels = round_up(linear->rows, kPanel) / kPanel;
    auto* codes = static_cast<int8_t*>(code_space.get(count * padded));
    auto* rows = static_cast<RowCodes*>(row_space.get(count * sizeof(RowCodes)));
    const Tokens quantized{codes, rows, padded};
    const Output output{out, linear->rows, 0, residual};
    const int64_t team = count * padded * linear->rows < kSerialWork ? 1 : threads;
    // With many tokens each thread has its own; with few, its own panels.
    const bool by_tokens = count >= 4 * kTile * team;
#pragma omp parallel num_threads(team) if (team > 1)
    {
      const int64_t members = omp_get_num_threads(), member = omp_get_thread_num();
      const int64_t share = round_up((count + members - 1) / members, kTile);
      const int64_t first = std::min(count, member * share), end = std::min(count, first + share);
      for (int64_t token = first; token < end; ++token) {
        rows[token] = quantize_row(tokens + token * linear->columns, linear->columns, codes + token * padded, padded);
      }
      if (by_tokens) {
        for (int64_t start = first; start < end; start += kTokensPerChunk) {
          const int64_t stop = std::min(end, start + kTokensPerChunk);
          for (int64_t panel = 0; panel < panels; ++panel) panel_of_outputs(*linear, panel, quantized, start, stop, output);
        }
      } else {
#pragma omp barrier
        const int64_t begin = panels * member / members, stop = panels * (member + 1) / members;
        for (int64_t panel = begin; panel < stop; ++panel) panel_of_outputs(*linear, panel, quantized, 0, count, output);
      }
    }
  });
}

// Rows of the embedding times their scale and `factor`, plus a row of positions: float32 [count, columns].
extern "C" int32_t dq_embed(const DqLinear* embedding, const int64_t* tokens, const int64_t* positions, int64_t count, float factor,
                            const int8_t* position_codes, const float* position_scale, float* out, int64_t threads) {
  return answer_of([&] {
    const int64_t columns = embedding->columns, padded = round_up(columns, kColumns), bits = embedding->bits, fields = 8 / bits;
#pragma omp parallel for num_threads(threads) if (count > 64) schedule(static)
    for (int64_t each = 0; each < count; ++each) {
      const int64_t token = tokens[each], position = positions[each];
      const uint8_t* panel = embedding->codes + token / kPanel * panel_bytes(padded, bits);
      const int64_t half = token % kPanel / kLanes, lane = token % kLanes;
      const float scale = embedding->scale[token], position_factor = position_scale[position];
      for (int64_t column = 0; column < columns; ++column) {
        const int64_t group = column / 4;
        const uint8_t packed = panel[(group / fields * 2 + half) * kVectorBytes + 4 * lane + column % 4];
        const int32_t code = ((packed >> (bits * (group % fields))) & ((1 << bits) - 1)) - offset_of(bits);
        const float value = static_cast<float>(code) * scale * factor;
        out[each * columns + column] = value + static_cast<float>(position_codes[position * columns + column]) * position_factor;
      }
    }
  });
}
