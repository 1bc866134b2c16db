// Linear layers and embeddings over packed weights, and the normalization between them.
#include <algorithm>

#include "codes.h"
#include "linear.h"
#include "panels.h"
#include "team.h"
#include "torch_functions.h"

using namespace dqbart;

namespace {

constexpr int64_t kTokensPerChunk = 192;     // tokens whose codes stay in the second-level cache
constexpr int64_t kSerialValues = 1 << 15;   // values that are quantized or normalized sooner than helpers are called

int64_t padded_columns(int64_t columns) { return round_up(columns, kColumns); }

// Memory for the codes of so many tokens, and then what their codes need besides.
Tokens tokens_in(uint8_t* memory, int64_t count, int64_t columns) {
  const int64_t padded = padded_columns(columns);
  return {reinterpret_cast<int8_t*>(memory), reinterpret_cast<RowCodes*>(memory + count * padded), padded};
}

// Products of tokens' codes; quantize(token) is called for each before its codes are read.
template <typename Quantize>
void multiply(const DqLinear& linear, const Tokens& tokens, int64_t count, const Output& output, const Quantize& quantize) {
  const int64_t panels = round_up(linear.rows, kPanel) / kPanel;
  const int64_t threads = count * tokens.stride * linear.rows < kSerialWork ? 1 : dq_team_size();
  if (count >= 4 * kTile * threads) {
    // With many tokens, a piece of work is all outputs of some of them.
    const int64_t chunk = std::min(kTokensPerChunk, threads == 1 ? count : round_up(count / (4 * threads), kTile));
    in_parallel((count + chunk - 1) / chunk, threads, [&](int64_t each, int64_t) {
      const int64_t first = each * chunk, end = std::min(count, first + chunk);
      for (int64_t token = first; token < end; ++token) quantize(token);
      for (int64_t panel = 0; panel < panels; ++panel) panel_of_outputs(linear, panel, tokens, first, end, output);
    });
  } else {
    // With few, it is some outputs of all.
    const int64_t quantizing = count * tokens.stride < kSerialValues ? 1 : threads;
    in_parallel(count, quantizing, [&](int64_t token, int64_t) { quantize(token); });
    in_parallel(panels, threads, [&](int64_t panel, int64_t) { panel_of_outputs(linear, panel, tokens, 0, count, output); });
  }
}

}  // namespace

// float32 [count, columns] to [count, rows], `residual` added when there is one. `out` may be `residual`.
extern "C" int32_t dq_linear(const DqLinear* linear, const float* tokens, int64_t count, const float* residual, float* out) {
  return answer_of([&] {
    thread_local Workspace code_space;
    const int64_t columns = linear->columns, padded = padded_columns(columns);
    const Tokens quantized = tokens_in(static_cast<uint8_t*>(code_space.get(count * (padded + sizeof(RowCodes)))), count, columns);
    multiply(*linear, quantized, count, {out, linear->rows, 0, residual}, [&](int64_t token) {
      quantized.rows[token] = quantize_row(tokens + token * columns, columns, quantized.codes + token * padded, padded);
    });
  });
}

// Bytes that the codes of so many tokens take.
extern "C" int64_t dq_code_bytes(int64_t count, int64_t columns) {
  return count * (padded_columns(columns) + static_cast<int64_t>(sizeof(RowCodes)));
}

// Quantizes tokens, float32 [count, columns], which several layers read.
extern "C" int32_t dq_quantize(const float* tokens, int64_t count, int64_t columns, uint8_t* codes) {
  return answer_of([&] {
    const Tokens quantized = tokens_in(codes, count, columns);
    in_parallel(count, count * columns < kSerialValues ? 1 : dq_team_size(), [&](int64_t token, int64_t) {
      int8_t* row = quantized.codes + token * quantized.stride;
      quantized.rows[token] = quantize_row(tokens + token * columns, columns, row, quantized.stride);
    });
  });
}

// As dq_linear, of what dq_quantize wrote.
extern "C" int32_t dq_linear_of_codes(const DqLinear* linear, uint8_t* codes, int64_t count, float* out) {
  return answer_of([&] {
    multiply(*linear, tokens_in(codes, count, linear->columns), count, {out, linear->rows, 0, nullptr}, [](int64_t) {});
  });
}

// Layer normalization of rows, float32 [count, columns]; `out` may be the rows.
extern "C" int32_t dq_normalize(const float* rows, int64_t count, int64_t columns, const float* weight, const float* bias,
                                float epsilon, float* out) {
  return answer_of([&] {
    in_parallel(count, count * columns < kSerialValues ? 1 : dq_team_size(), [&](int64_t row, int64_t) {
      torch_layer_norm(rows + row * columns, columns, weight, bias, epsilon, out + row * columns);
    });
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
