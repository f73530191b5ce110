// Floats as JSON text, eight at a time: the same decimals and texts as shortest_single.h and float_text.h give one by one.
#pragma once

#include <cstdint>

#include "print.h"
#include "wide.h"

namespace switchyard {
namespace wide {

#ifdef SWITCHYARD_WIDE
/**
 * printElements of floats, which stops early before eight of which one takes a longer way: it is not finite, is subnormal,
 * or has an exponent in its text.
 */
Printed printSingles(const uint8_t* data, int64_t first, int64_t from, int64_t to, uint8_t* out, const uint8_t* end);
#endif

}  // namespace wide
}  // namespace switchyard
