// The shape of nested arrays, where nothing but they themselves tells it.
#pragma once

#include <cstdint>

#include "text.h"

namespace switchyard {

constexpr int kMaxRank = 32;

struct Shape {
  int rank = 0;
  int32_t dims[kMaxRank];
  int64_t count = 1;

  bool is(const Shape& other) const {
    return rank == other.rank && std::memcmp(dims, other.dims, rank * sizeof(int32_t)) == 0;
  }
};

/**
 * Moves past arrays of numbers, of equal length and depth and none empty. What the elements are is not looked at, but that
 * there are neither strings nor objects before the first one.
 */
bool measureNested(Cursor& cursor, Shape& out);

}  // namespace switchyard
