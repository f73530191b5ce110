#include "nested.h"

#include <algorithm>
#include <cstring>

namespace switchyard {
namespace {

/** How many arrays the first element is within. */
bool measureRank(Cursor cursor, Shape& out) {
  while (cursor.peek() == '[') {
    if (out.rank == kMaxRank) return false;
    out.dims[out.rank++] = 0;
    cursor.at++;
  }
  const uint8_t first = cursor.peek();
  return out.rank > 0 && first != ']' && first != '"' && first != '{';
}

/** Notes the length of an array, or compares it with that of those before. */
bool agrees(int32_t& dim, int64_t length) {
  if (dim == 0 && length <= INT32_MAX) dim = static_cast<int32_t>(length);
  return dim == length;
}

bool measureLevel(Cursor& cursor, int level, Shape& out) {
  if (!cursor.expect('[')) return false;
  if (level == out.rank - 1) {
    // Elements without commas between them are found out when they are read.
    const auto* const close = static_cast<const uint8_t*>(std::memchr(cursor.at, ']', cursor.end - cursor.at));
    if (close == nullptr || std::memchr(cursor.at, '[', close - cursor.at) != nullptr) return false;
    const int64_t commas = std::count(cursor.at, close, uint8_t{','});
    const bool empty = commas == 0 && cursor.peek() == ']';
    cursor.at = close + 1;
    return !empty && agrees(out.dims[level], commas + 1);
  }
  int64_t length = 0;
  for (bool open = true; open; length++) {
    if (!measureLevel(cursor, level + 1, out) || !cursor.more(']', open)) return false;
  }
  return agrees(out.dims[level], length);
}

}  // namespace

bool measureNested(Cursor& cursor, Shape& out) {
  if (!measureRank(cursor, out) || !measureLevel(cursor, 0, out)) return false;
  for (int i = 0; i < out.rank; i++) {
    // Each element takes a byte at least: what is within the text does not overflow.
    out.count *= out.dims[i];
  }
  return true;
}

}  // namespace switchyard
