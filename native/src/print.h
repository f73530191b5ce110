// Elements of a tensor as JSON text, byte for byte as src/protocol/json/tensor-print.ts prints them.
#pragma once

#include <cstdint>

#include "types.h"

namespace switchyard {

/** Room that must be left before each element. */
constexpr int kElementRoom = 48;

struct Printed {
  /** The first element that was not printed. */
  int64_t next;
  uint8_t* end;
};

/**
 * Prints elements [from, to) of the data until `end` is near, with a comma before each but element `first`. Nothing is
 * printed of BYTES, FP16 and BF16. The data may be misaligned.
 */
Printed printElements(Type type, const uint8_t* data, int64_t first, int64_t from, int64_t to, uint8_t* out,
                      const uint8_t* end);

/** Prints a finite number as JavaScript's String() does, into at least kElementRoom bytes. Returns where it ends. */
uint8_t* printNumber(uint8_t* out, double value);

}  // namespace switchyard
