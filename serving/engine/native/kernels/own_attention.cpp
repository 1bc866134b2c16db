// Attention of decoder rows over their own earlier positions.
//
// A request's rows (beams) keep what each wrote in records, and never copy: when beams are reordered, only the table of ancestors
// is, which says for each row and position the slot that the row continues. Records lie in pages, each of so many positions of
// all layers: [layers, positions, slots] of them. A request takes pages one by one as it goes on. A record:
//
//   keys          uint8 [heads, width]   code + 128
//   values        int8  [heads, width]
//   key scales    float [heads]
//   value scales  float [heads]
//
// `width` is a head's, rounded up to 16. Layers may have unlike numbers of heads; each head takes the same, so that the records
// of a layer are found by the number of heads in the layers before it.
#include <algorithm>
#include <limits>

#include "codes.h"
#include "products.h"
#include "team.h"
#include "torch_functions.h"

using namespace dqbart;

extern "C" {

// A row of the batch.
struct DqOwnRow {
  uint8_t** pages;      // of the request
  int32_t* ancestors;   // slot of each position
  int64_t head_bytes;   // that a head takes in all the records of its layer in a page
  int64_t slots;        // of the request
  int64_t slot;         // that this step writes
  int64_t position;     // that this step writes
};

}  // extern "C"

namespace {

constexpr int64_t kPagePositions = 16;
constexpr int64_t kSerialRows = 8;  // rows below which starting threads costs more than it saves

struct Shape {
  int64_t heads, width, padded_width, record;
  Shape(int64_t heads, int64_t width)
      : heads(heads), width(width), padded_width(round_up(width, 16)), record(heads * (2 * padded_width + 2 * 4)) {}
};

struct Record {
  uint8_t* keys;
  int8_t* values;
  float* key_scale;
  float* value_scale;
  Record(uint8_t* at, const Shape& shape)
      : keys(at),
        values(reinterpret_cast<int8_t*>(keys + shape.heads * shape.padded_width)),
        key_scale(reinterpret_cast<float*>(values + shape.heads * shape.padded_width)),
        value_scale(key_scale + shape.heads) {}
};

// Of a layer with so many heads before it.
uint8_t* record_at(const DqOwnRow& row, int64_t before, const Shape& shape, int64_t position, int64_t slot) {
  uint8_t* layer = row.pages[position / kPagePositions] + before * row.head_bytes;
  return layer + (position % kPagePositions * row.slots + slot) * shape.record;
}

void write_record(const Record& record, const Shape& shape, const float* keys, const float* values) {
  for (int64_t head = 0; head < shape.heads; ++head) {
    const int64_t at = head * shape.width, code = head * shape.padded_width;
    auto* key_codes = reinterpret_cast<int8_t*>(record.keys + code);
    record.key_scale[head] = quantize_row(keys + at, shape.width, key_codes, shape.padded_width).scale;
    for (int64_t byte = 0; byte < shape.padded_width; ++byte) record.keys[code + byte] ^= 0x80;  // + 128
    record.value_scale[head] = quantize_row(values + at, shape.width, record.values + code, shape.padded_width).scale;
  }
}

// The sum of the lanes of each of four vectors.
inline __m128i totals_of(const Ints (&vectors)[4]) {
  const auto halved = [](Ints one, Ints other) { return add(zip_low32(one, other), zip_high32(one, other)); };
  const Ints first = halved(vectors[0], vectors[1]), second = halved(vectors[2], vectors[3]);
  return add_quarters(add(zip_low64(first, second), zip_high64(first, second)));
}

void score_row(const DqOwnRow& row, int64_t before, const Shape& shape, const float* query, float scaling, float* scores,
               int64_t padded) {
  thread_local Workspace code_space, row_space;
  auto* codes = static_cast<int8_t*>(code_space.get(shape.heads * shape.padded_width));
  auto* rows = static_cast<RowCodes*>(row_space.get(shape.heads * sizeof(RowCodes)));
  for (int64_t head = 0; head < shape.heads; ++head) {
    rows[head] = quantize_row(query + head * shape.width, shape.width, codes + head * shape.padded_width, shape.padded_width);
  }
  for (int64_t position = 0; position <= row.position; ++position) {
    const Record record(record_at(row, before, shape, position, row.ancestors[position]), shape);
    for (int64_t head = 0; head < shape.heads; head += 4) {
      const int64_t four = std::min<int64_t>(4, shape.heads - head);
      Ints sums[4] = {};
      for (int64_t each = 0; each < four; ++each) {
        for (int64_t byte = 0; byte < shape.padded_width; byte += kVectorBytes) {
          const Bytes bytes = bytes_left(shape.padded_width - byte);
          const int64_t at = (head + each) * shape.padded_width + byte;
          const Ints keys = load_bytes(bytes, record.keys + at);
          sums[each] = add_key_products(sums[each], keys, load_bytes(bytes, codes + at));
        }
      }
      alignas(16) int32_t totals[4];
      _mm_store_si128(reinterpret_cast<__m128i*>(totals), totals_of(sums));
      for (int64_t each = 0; each < four; ++each) {
        const float exact = static_cast<float>(totals[each] - kKeyOffset * rows[head + each].sum);
        scores[(head + each) * padded + position] = exact * (rows[head + each].scale * scaling) * record.key_scale[head + each];
      }
    }
  }
  for (int64_t head = 0; head < shape.heads; ++head) {
    for (int64_t position = row.position + 1; position < padded; ++position) {
      scores[head * padded + position] = std::numeric_limits<float>::lowest();
    }
  }
}

void weigh_row(const DqOwnRow& row, int64_t before, const Shape& shape, const float* probabilities, int64_t padded,
               float* out) {
  thread_local Workspace code_space, folded_space, record_space;
  const int64_t count = row.position + 1, rounded = round_up(count, 16);
  auto* codes = static_cast<int8_t*>(code_space.get(rounded));
  auto* folded = static_cast<float*>(folded_space.get(rounded * sizeof(float)));
  // Found once for all heads. Past the end, codes are 0 and any record does.
  auto** records = static_cast<uint8_t**>(record_space.get(rounded * sizeof(uint8_t*)));
  for (int64_t position = 0; position < rounded; ++position) {
    const int64_t at = std::min(position, row.position);
    records[position] = record_at(row, before, shape, at, row.ancestors[at]);
  }
  for (int64_t head = 0; head < shape.heads; ++head) {
    for (int64_t position = 0; position < count; ++position) {
      const Record record(records[position], shape);
      folded[position] = probabilities[head * padded + position] * record.value_scale[head];
    }
    const Floats scale = broadcast(quantize_row(folded, count, codes, rounded).scale);
    for (int64_t byte = 0; byte < shape.padded_width; byte += kVectorBytes) {
      const Bytes bytes = bytes_left(shape.padded_width - byte);
      Ints sums[4] = {broadcast(0), broadcast(0), broadcast(0), broadcast(0)};
      for (int64_t position = 0; position < count; position += 4) {
        Ints rows[4], parts[4];
        for (int64_t each = 0; each < 4; ++each) {
          const Record record(records[position + each], shape);
          rows[each] = load_bytes(bytes, record.values + head * shape.padded_width + byte);
        }
        interleave(rows, parts);
        const Ints four = broadcast4(codes + position);
        for (int part = 0; part < 4; ++part) sums[part] = add_products(sums[part], four, parts[part]);
      }
      alignas(64) float lanes[4][kLanes];
      for (int part = 0; part < 4; ++part) store(lanes[part], mul(to_floats(sums[part]), scale));
      const int64_t columns = std::min<int64_t>(kVectorBytes, shape.width - byte);
      for (int64_t column = 0; column < columns; ++column) {
        out[head * shape.width + byte + column] = lanes[column % 16 / 4][column / 16 * 4 + column % 4];
      }
    }
  }
}

}  // namespace

extern "C" {

int64_t dq_page_positions() { return kPagePositions; }

// Bytes of a record.
int64_t dq_record_bytes(int64_t heads, int64_t width) { return Shape(heads, width).record; }

// Writes each row's keys and values at its position, and has its query attend to its positions: `projected` is float32
// [rows, 3 * heads * width], queries, keys and values side by side; `out` is [rows, heads * width]. `before` is the number of heads
// in the layers before this one.
int32_t dq_own_attend(const DqOwnRow* rows, int64_t count, int64_t before, int64_t heads, int64_t width, const float* projected,
                      float scaling, float* out) {
  return answer_of([&] {
    const Shape shape(heads, width);
    in_parallel(count, count < kSerialRows ? 1 : dq_team_size(), [&](int64_t each, int64_t) {
      const DqOwnRow& row = rows[each];
      const float* query = projected + each * 3 * heads * width;
      const int64_t padded = round_up(row.position + 1, 16);
      thread_local Workspace score_space;
      auto* scores = static_cast<float*>(score_space.get(heads * padded * sizeof(float)));
      row.ancestors[row.position] = static_cast<int32_t>(row.slot);
      const Record record(record_at(row, before, shape, row.position, row.slot), shape);
      write_record(record, shape, query + heads * width, query + 2 * heads * width);
      score_row(row, before, shape, query, scaling, scores, padded);
      for (int64_t head = 0; head < heads; ++head) torch_softmax(scores + head * padded, padded);
      weigh_row(row, before, shape, scores, padded, out + each * heads * width);
    });
  });
}

}  // extern "C"
