// Moving through JSON text. Every function returns false on what it does not take; the caller then gives up.
#pragma once

#include <cstdint>
#include <cstring>

#include "number.h"

namespace switchyard {

constexpr int kMaxDepth = 100;

inline bool isSpace(uint8_t c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

/** A string's characters, without the quotes. */
struct Text {
  const uint8_t* at;
  int32_t length;

  bool is(const char* text, int32_t size) const { return length == size && std::memcmp(at, text, size) == 0; }
};

/** A position in the text. The byte before `end` must be a closing bracket. */
struct Cursor {
  const uint8_t* begin;
  const uint8_t* at;
  const uint8_t* end;

  /** Skips white space; the byte there, 0 at the end. */
  uint8_t peek() {
    while (at < end && isSpace(*at)) at++;
    return at < end ? *at : 0;
  }

  bool expect(uint8_t c) {
    if (peek() != c) return false;
    at++;
    return true;
  }

  /** After a member or element: `open` tells whether a comma stood there, or the closing bracket. */
  bool more(uint8_t close, bool& open) {
    const uint8_t c = peek();
    if (c != ',' && c != close) return false;
    at++;
    open = c == ',';
    return true;
  }

  /** After an opening bracket: `open` is false, and the closing one consumed, where nothing is inside. */
  void enter(uint8_t close, bool& open) {
    open = peek() != close;
    if (!open) at++;
  }

  bool literal(const char* text, int size) {
    if (end - at < size || std::memcmp(at, text, size) != 0) return false;
    at += size;
    return true;
  }

  /** A string of ASCII without escapes. */
  bool plainString(Text& out) {
    if (!expect('"')) return false;
    out.at = at;
    // A closing bracket is before `end`, but it may be part of this string.
    while (at < end && *at != '"') {
      if (*at < 0x20 || *at >= 0x80 || *at == '\\') return false;
      at++;
    }
    if (at == end || at - out.at > INT32_MAX) return false;
    out.length = static_cast<int32_t>(at - out.at);
    at++;
    return true;
  }

  bool key(Text& out) { return plainString(out) && expect(':'); }

  /** An integer from 0 on, of plain digits and below 2^31. */
  bool smallInteger(int32_t& out);

  /** Moves past one value of any kind, checking its syntax. */
  bool skipValue();

  /** Moves past a number; `from` is where it begins. */
  bool skipNumber(const uint8_t*& from);

 private:
  bool skipString();
  bool skipScalar(uint8_t c);
};

}  // namespace switchyard
