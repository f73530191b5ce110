// Reading Avro's binary encoding as the event log writes it: an array is one block whose length is not told.
#pragma once

#include <cstdint>
#include <cstring>

namespace switchyard {

struct AvroText {
  const uint8_t* at;
  int64_t length;

  bool is(const char* text) const {
    return length == static_cast<int64_t>(std::strlen(text)) && std::memcmp(at, text, length) == 0;
  }
};

/** A place in a record. What ends too early or is of another form makes `good` false for ever, and reads as nothing. */
struct AvroCursor {
  const uint8_t* at;
  const uint8_t* end;
  bool good = true;

  AvroCursor(const uint8_t* from, const uint8_t* to) : at(from), end(to) {}

  int64_t left() const { return end - at; }

  bool refuse() {
    good = false;
    return false;
  }

  bool has(int64_t bytes) { return (good && bytes >= 0 && bytes <= left()) || refuse(); }

  uint8_t byte() { return has(1) ? *at++ : 0; }

  int64_t number() {
    uint64_t zigzag = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t next = byte();
      zigzag |= static_cast<uint64_t>(next & 127) << shift;
      if (next < 128) return static_cast<int64_t>((zigzag >> 1) ^ (~(zigzag & 1) + 1));
    }
    refuse();
    return 0;
  }

  template <typename T>
  T fixed() {
    T value{};
    if (has(sizeof(T))) {
      std::memcpy(&value, at, sizeof(T));
      at += sizeof(T);
    }
    return value;
  }

  AvroText text() {
    const int64_t length = number();
    if (!has(length)) return {at, 0};
    at += length;
    return {at - length, length};
  }

  /** Items of an array, each of which takes at least so many bytes. Whoever has read them calls `close`. */
  int64_t items(int64_t leastBytes) {
    const int64_t count = number();
    if (count >= 0 && count <= left() / leastBytes) return count;
    refuse();
    return 0;
  }

  /** The end of an array of so many items: of none, it has been read as their count. */
  void close(int64_t count) {
    if (count > 0 && byte() != 0) refuse();
  }
};

}  // namespace switchyard
