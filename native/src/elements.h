// The elements of "data": nested arrays of numbers, or of strings, flattened into a tensor's bytes.
#pragma once

#include <cstdint>

#include "text.h"
#include "types.h"

namespace switchyard {

/**
 * Reads the arrays at the cursor into `out`, which has room for exactly `count` elements. `readable`: the first byte
 * behind the text that must not be read. Not for BYTES, FP16 and BF16.
 */
bool readNumbers(Cursor& cursor, const uint8_t* readable, Type type, int64_t count, uint8_t* out);

/** Reads the single element at the cursor, not for those either. */
bool readNumber(Cursor& cursor, Type type, uint8_t* out);

/** Measures arrays of plain strings and moves past them: `bytes` is their size as BYTES elements. */
bool measureStrings(Cursor& cursor, int64_t count, int64_t& bytes);

/** Copies strings that measureStrings took, from the same place on. */
void copyStrings(Cursor cursor, int64_t count, uint8_t* out);

}  // namespace switchyard
