// Prints a record of the event log as a line of JSON, byte for byte as src/eventlog/encode/json.ts does it from what
// src/eventlog/encode/record-decoder.ts reads: these are its twin, and decide whatever is refused here. Plain C++: knows
// nothing of Node-API, keeps nothing after it returned.
#pragma once

#include <cstdint>

namespace switchyard {

/** Room for the line of a record of so many bytes: no field grows more than this by being printed. */
constexpr int64_t recordLineRoom(int64_t bytes) { return 1024 + 16 * bytes; }

/**
 * Prints the record from `at` up to `end`, encoded as INFERENCE_SCHEMA (src/eventlog/encode/schema.ts) says, and a line
 * feed. `out` has `recordLineRoom` bytes. Returns where the line ends; nullptr: it is no such record, or one that is left
 * to the twin (an earlier version, BYTES that are no text, text that is no UTF-8).
 */
uint8_t* printRecord(const uint8_t* at, const uint8_t* end, uint8_t* out);

}  // namespace switchyard
