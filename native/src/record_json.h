// Prints a record of the event log as a line of JSON, byte for byte as src/eventlog/encode/json.ts does it from what
// src/eventlog/encode/record-decoder.ts reads: these are its twin, and decide whatever is refused here. Plain C++: knows
// nothing of Node-API, keeps nothing after it returned.
#pragma once

#include <cstdint>

#include "avro.h"

namespace switchyard {

/** Room for the line of a record of so many bytes: no field grows more than this by being printed. */
constexpr int64_t recordLineRoom(int64_t bytes) { return 1024 + 16 * bytes; }

/**
 * Prints records one after the other. What neighbours have in common, such as their route and the heads of their columns,
 * is copied from the line before: records and lines stay where they are as long as the printer is in use.
 */
class RecordPrinter {
 public:
  /**
   * Prints the record from `at` up to `end`, encoded as INFERENCE_SCHEMA (src/eventlog/encode/schema.ts) says, and a line
   * feed. `out` has `recordLineRoom` bytes. Returns where the line ends; nullptr: it is no such record, or one that is left
   * to the twin (an earlier version, BYTES that are no text, text that is no UTF-8).
   */
  uint8_t* print(const uint8_t* at, const uint8_t* end, uint8_t* out);

 private:
  friend struct Line;

  /** Fields as they were encoded and as they were printed the last time. */
  struct Passage {
    const uint8_t* encoded = nullptr;
    int64_t encodedBytes = 0;
    const uint8_t* printed = nullptr;
    int64_t printedBytes = 0;
  };

  /** What is before a column's values. */
  struct ColumnHead : Passage {
    AvroText datatype{nullptr, 0};
    bool isEmpty = false;
  };

  static constexpr int kColumns = 8;

  Passage origin_;
  Passage decision_;
  Passage reasons_;
  /** By their number in the record; the last one is of all that follow, too. */
  ColumnHead columns_[kColumns];
};

}  // namespace switchyard
