// Codes as an artifact stores them (quant/packing.py), to the panels of panels.h.
//
// Both are unsigned: what a stored code has as its offset, a packed one has too. Rows are independent of one another, so that any
// number of threads may pack rows of the same panels.
#include <cstring>
#include <vector>

#include "linear.h"

using namespace dqbart;

namespace {

constexpr int32_t kPacked = 0, kNoRoom = 1, kForeign = 2;  // what packing answers
constexpr int64_t kTrits = 5, kTritBytes = 243;
constexpr int64_t kLanesOfHalf = 16;

struct TritTable {
  uint64_t digits[256];  // five bytes each
  constexpr TritTable() : digits() {
    for (int byte = 0; byte < 256; ++byte) {
      uint64_t found = 0;
      for (int place = 0, left = byte; place < kTrits; ++place, left /= 3) found |= static_cast<uint64_t>(left % 3) << (8 * place);
      digits[byte] = found;
    }
  }
};
constexpr TritTable kTritTable;

// Codes + offset of `count` stored bytes; whether all are of our packing. `to` has room for 3 more.
bool unpack(const uint8_t* stored, int64_t count, int64_t bits, uint8_t* to) {
  uint8_t foreign = 0;
  if (bits == 8) {
    for (int64_t at = 0; at < count; ++at) {
      foreign |= stored[at] == 0x80;
      to[at] = stored[at] ^ 0x80;
    }
  } else if (bits == 4) {
    for (int64_t at = 0; at < count; ++at) {
      to[2 * at] = stored[at] & 15;
      to[2 * at + 1] = stored[at] >> 4;
      foreign |= (stored[at] & 15) == 0 || (stored[at] >> 4) == 0;
    }
  } else {
    for (int64_t at = 0; at < count; ++at) {
      foreign |= stored[at] >= kTritBytes;
      std::memcpy(to + kTrits * at, &kTritTable.digits[stored[at]], 8);
    }
  }
  return foreign == 0;
}

// One row of codes + offset, padded to `padded` columns, to its lane of its panel.
template <int BITS>
void pack_row(const uint8_t* codes, int64_t padded, int64_t row, uint8_t* panels) {
  constexpr int kFields = 8 / BITS;
  uint8_t* to = panels + row / kPanel * panel_bytes(padded, BITS) + row % kPanel / kLanesOfHalf * 64 + row % kLanesOfHalf * 4;
  for (int64_t column = 0; column < padded; column += 4 * kFields, to += 128) {
    uint32_t word = 0;
    for (int field = 0; field < kFields; ++field) {
      uint32_t four;
      std::memcpy(&four, codes + column + 4 * field, 4);
      word |= four << (BITS * field);
    }
    std::memcpy(to, &word, 4);
  }
}

void pack_row(const uint8_t* codes, int64_t padded, int64_t bits, int64_t row, uint8_t* panels) {
  if (bits == 2) return pack_row<2>(codes, padded, row, panels);
  if (bits == 4) return pack_row<4>(codes, padded, row, panels);
  pack_row<8>(codes, padded, row, panels);
}

}  // namespace

// Rows `first` to `first + rows` of packed panels, of `columns` codes each, from the stored bytes that hold them; the first `skipped`
// codes of those are of an earlier row. What lies past the columns is code 0.
extern "C" int32_t dq_pack(const uint8_t* stored, int64_t skipped, int64_t first, int64_t rows, int64_t columns, int64_t bits,
                           uint8_t* panels) {
  try {
    const int64_t per_byte = bits == 8 ? 1 : bits == 4 ? 2 : kTrits, padded = (columns + kColumns - 1) / kColumns * kColumns;
    const auto bytes_of = [&](int64_t codes) { return (codes + per_byte - 1) / per_byte; };
    std::vector<uint8_t> unpacked(static_cast<size_t>(bytes_of(columns + per_byte) * per_byte + 8));
    std::vector<uint8_t> row(static_cast<size_t>(padded), static_cast<uint8_t>(offset_of(bits)));
    for (int64_t each = 0; each < rows; ++each) {
      const int64_t begin = skipped + each * columns, byte = begin / per_byte, end = bytes_of(begin + columns);
      if (!unpack(stored + byte, end - byte, bits, unpacked.data())) return kForeign;
      std::memcpy(row.data(), unpacked.data() + begin % per_byte, static_cast<size_t>(columns));
      pack_row(row.data(), padded, bits, first + each, panels);
    }
    return kPacked;
  } catch (const std::bad_alloc&) {
    return kNoRoom;
  }
}

// Rows of int8 codes in memory, of any value that the bits hold; of code 0 where `codes` is null.
extern "C" int32_t dq_pack_codes(const int8_t* codes, int64_t first, int64_t rows, int64_t columns, int64_t bits, uint8_t* panels) {
  try {
    const int64_t padded = (columns + kColumns - 1) / kColumns * kColumns;
    const auto offset = static_cast<uint8_t>(offset_of(bits));
    std::vector<uint8_t> row(static_cast<size_t>(padded), offset);
    for (int64_t each = 0; each < rows; ++each) {
      for (int64_t column = 0; codes != nullptr && column < columns; ++column) {
        row[column] = static_cast<uint8_t>(codes[each * columns + column] + offset);
      }
      pack_row(row.data(), padded, bits, first + each, panels);
    }
    return kPacked;
  } catch (const std::bad_alloc&) {
    return kNoRoom;
  }
}
