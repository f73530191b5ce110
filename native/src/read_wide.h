// Floats from JSON text, eight at a time: those that number.h and nearest.h give one by one.
#pragma once

#include <cstdint>

#include "wide.h"

namespace switchyard {
namespace wide {

/** So many bytes before the first number must be readable. */
constexpr int kReadBefore = 32;

#ifdef SWITCHYARD_WIDE
/**
 * Reads plain decimals with a comma, and at most one space, behind each: whole eights, `count` at most, into `out`. Returns
 * how many, with `at` behind the last one's comma and space. Stops before eight of which one takes a longer way: it has an
 * exponent or more than 24 characters, or is next to the middle between two floats or beyond the normal ones.
 *
 * @param readable the first byte that must not be read
 */
int64_t readSingles(const uint8_t*& at, const uint8_t* readable, float* out, int64_t count);
#endif

}  // namespace wide
}  // namespace switchyard
