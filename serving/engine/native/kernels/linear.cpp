// Linear layers and embeddings over packed weights.
#include <algorithm>

#include "codes.h"
#include "linear.h"
#include "panels.h"
#include "team.h"

using namespace dqbart;

namespace {

constexpr int64_t kTokensPerChunk = 192;     // tokens whose codes stay in the second-level cache
constexpr int64_t kSerialValues = 1 << 15;   // values that are quantized sooner than helpers are called

}  // namespace

// float32 [count, columns] to [count, rows], `residual` added when there is one. `out` may be `residual`.
extern "C" int32_t dq_linear(const DqLinear* linear, const float* tokens, int64_t count, const float* residual, float* out) {
  return answer_of([&] {
    thread_local Workspace code_space, row_space;
    const int64_t columns = linear->columns, padded = round_up(columns, kColumns), panels = round_up(linear->rows, kPanel) / kPanel;
    auto* codes = static_cast<int8_t*>(code_space.get(count * padded));
    auto* rows = static_cast<RowCodes*>(row_space.get(count * sizeof(RowCodes)));
    const Tokens quantized{codes, rows, padded};
    const Output output{out, linear->rows, 0, residual};
    const int64_t threads = count * padded * linear->rows < kSerialWork ? 1 : dq_team_size();
    const auto quantize = [&](int64_t token) {
      rows[token] = quantize_row(tokens + token * columns, columns, codes + token * padded, padded);
    };
    if (count >= 4 * kTile * threads) {
      // With many tokens, a piece of work is all outputs of some of them.
      const int64_t chunk = std::min(kTokensPerChunk, threads == 1 ? count : round_up(count / (4 * threads), kTile));
      in_parallel((count + chunk - 1) / chunk, threads, [&](int64_t each, int64_t) {
        const int64_t first = each * chunk, end = std::min(count, first + chunk);
        for (int64_t token = first; token < end; ++token) quantize(token);
        for (int64_t panel = 0; panel < panels; ++panel) panel_of_outputs(*linear, panel, quantized, first, end, output);
      });
    } else {
      // With few, it is some outputs of all.
      const int64_t quantizing = count * padded < kSerialValues ? 1 : threads;
      in_parallel(count, quantizing, [&](int64_t token, int64_t) { quantize(token); });
      in_parallel(panels, threads, [&](int64_t panel, int64_t) { panel_of_outputs(*linear, panel, quantized, 0, count, output); });
    }
  });
}

// Rows of the embedding times their scale and `factor`, plus a row of positions: float32 [count, columns].
extern "C" int32_t dq_embed(const DqLinear* embedding, const int64_t* tokens, const int64_t* positions, int64_t count, float factor,
                            const int8_t* position_codes, const float* position_scale, float* out) {
  return answer_of([&] {
    const int64_t columns = embedding->columns, padded = round_up(columns, kColumns), bits = embedding->bits, fields = 8 / bits;
    in_parallel(count, count > 64 ? dq_team_size() : 1, [&](int64_t each, int64_t) {
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
    });
  });
}
