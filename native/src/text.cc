#include "text.h"

namespace switchyard {

bool Cursor::smallInteger(int32_t& out) {
  if (!isDigit(peek())) return false;
  const uint8_t* from = at;
  int64_t value = 0;
  while (isDigit(*at)) {
    value = value * 10 + (*at++ - '0');
    if (value > INT32_MAX) return false;
  }
  if (*from == '0' && at - from > 1) return false;
  if (*at == '.' || (*at | 0x20) == 'e') return false;
  out = static_cast<int32_t>(value);
  return true;
}

// Digits end before a closing bracket at the latest, so none of the loops here needs to look for the end.
bool Cursor::skipNumber(const uint8_t*& from) {
  from = at;
  if (*at == '-') at++;
  const uint8_t* first = at;
  while (isDigit(*at)) at++;
  if (at == first || (*first == '0' && at - first > 1)) return false;
  if (*at == '.') {
    const uint8_t* point = ++at;
    while (isDigit(*at)) at++;
    if (at == point) return false;
  }
  if ((*at | 0x20) == 'e') {
    at++;
    if (*at == '-' || *at == '+') at++;
    const uint8_t* digits = at;
    while (isDigit(*at)) at++;
    if (at == digits) return false;
  }
  return true;
}

namespace {

bool isHex(uint8_t c) { return isDigit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); }

/** Bytes of the UTF-8 sequence at `at`; 0: none stands there. Overlong forms and surrogates are none. */
int sequenceLength(const uint8_t* at, const uint8_t* end) {
  const uint8_t c = *at;
  const int length = c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
  if (length == 0 || end - at < length) return 0;
  for (int i = 1; i < length; i++) {
    if ((at[i] & 0xc0) != 0x80) return 0;
  }
  if ((c == 0xe0 && at[1] < 0xa0) || (c == 0xed && at[1] > 0x9f)) return 0;
  if ((c == 0xf0 && at[1] < 0x90) || (c == 0xf4 && at[1] > 0x8f)) return 0;
  return length;
}

}  // namespace

bool Cursor::skipString() {
  at++;
  while (at < end && *at != '"') {
    const uint8_t c = *at;
    if (c < 0x20) return false;
    if (c >= 0x80) {
      const int length = sequenceLength(at, end);
      if (length == 0) return false;
      at += length;
    } else if (c == '\\') {
      if (end - at < 6) return false;
      const uint8_t kind = at[1];
      if (kind == 'u') {
        if (!isHex(at[2]) || !isHex(at[3]) || !isHex(at[4]) || !isHex(at[5])) return false;
      } else if (kind == 0 || std::strchr("\"\\/bfnrt", kind) == nullptr) {
        return false;
      }
      at += kind == 'u' ? 6 : 2;
    } else {
      at++;
    }
  }
  if (at >= end) return false;
  at++;
  return true;
}

bool Cursor::skipScalar(uint8_t c) {
  switch (c) {
    case '"':
      return skipString();
    case 't':
      return literal("true", 4);
    case 'f':
      return literal("false", 5);
    case 'n':
      return literal("null", 4);
    case 'N':
      return literal("NaN", 3);
    case 'I':
      return literal("Infinity", 8);
    default: {
      if (c == '-' && at[1] == 'I') return literal("-Infinity", 9);
      if (c != '-' && !isDigit(c)) return false;
      const uint8_t* from;
      // Numbers beyond the range of a double are refused, so only those are taken that are surely within.
      if (!skipNumber(from) || at - from > 100) return false;
      const uint8_t* mark = from;
      while (mark < at && (*mark | 0x20) != 'e') mark++;
      return at - mark <= 3;
    }
  }
}

bool Cursor::skipValue() {
  uint8_t closers[kMaxDepth + 1];
  int depth = 0;
  for (;;) {
    const uint8_t c = peek();
    bool open = false;
    if (c == '[' || c == '{') {
      if (depth == kMaxDepth) return false;
      at++;
      enter(c + 2, open);
      if (open) closers[++depth] = c + 2;
    } else if (!skipScalar(c)) {
      return false;
    }
    while (!open) {
      if (depth == 0) return true;
      if (!more(closers[depth], open)) return false;
      if (!open) depth--;
    }
    if (closers[depth] == '}' && (peek() != '"' || !skipString() || !expect(':'))) return false;
  }
}

}  // namespace switchyard
