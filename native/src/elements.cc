#include "elements.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <type_traits>

#include "delimiters.h"
#include "read_wide.h"

namespace switchyard {
namespace {

/** Where the next element of type T goes, and the end of the room for them. */
template <typename T>
struct Sink {
  T* next;
  T* last;
};

template <typename T>
struct Range {
  static constexpr int64_t low = std::numeric_limits<T>::min();
  static constexpr int64_t high = std::numeric_limits<T>::max();
};

// What is beyond it takes the long way.
template <>
struct Range<uint64_t> {
  static constexpr int64_t low = 0;
  static constexpr int64_t high = INT64_MAX;
};

template <typename T>
constexpr bool kIs64 = std::is_integral_v<T> && sizeof(T) == 8;

/** Stores a double. False where it is not within the type. */
template <typename T>
inline bool putDouble(T* out, double value) {
  if constexpr (std::is_same_v<T, double>) {
    *out = value;
  } else if constexpr (std::is_same_v<T, float>) {
    // From here on, half a unit above the largest float, it would round to infinity.
    if (std::fabs(value) >= 0x1.ffffffp127) return false;
    *out = static_cast<float>(value);
  } else {
    const double low = static_cast<double>(Range<T>::low);
    const double high = static_cast<double>(Range<T>::high);
    if (!(value >= low && value <= high) || value != std::floor(value)) return false;
    *out = static_cast<T>(value);
  }
  return true;
}

/** Stores a decimal. False where it is not within the type, or cannot be decided here. */
template <typename T>
inline bool put(T* out, const Decimal& decimal) {
  if constexpr (std::is_floating_point_v<T>) {
    return toNearest(decimal, *out);
  } else {
    if (decimal.exponent == 0) {
      if (decimal.mantissa > static_cast<uint64_t>(INT64_MAX)) return false;
      const int64_t magnitude = static_cast<int64_t>(decimal.mantissa);
      const int64_t value = decimal.negative ? -magnitude : magnitude;
      if (value < Range<T>::low || value > Range<T>::high) return false;
      *out = static_cast<T>(value);
      return true;
    }
    if (kIs64<T>) return false;
    double value;
    return toNearest(decimal, value) && putDouble(out, value);
  }
}

/** Whether a double is in the middle of two floats: then it does not tell which one a decimal is nearer to. */
bool isMiddle(double value) {
  const float nearest = static_cast<float>(value);
  const double above = value - nearest;
  const float other = std::nextafter(nearest, above > 0 ? HUGE_VALF : -HUGE_VALF);
  return above != 0 && other - value == above;
}

/** A number of any form; one of many digits, or next to the middle between two floats, is not to be had in less time. */
template <typename T>
bool readLongNumber(Cursor& cursor, T* out) {
  const uint8_t* start;
  if (!cursor.skipNumber(start)) return false;
  const char* const from = reinterpret_cast<const char*>(start);
  const char* const to = reinterpret_cast<const char*>(cursor.at);
  double value;
  const auto [stop, error] = std::from_chars(from, to, value);
  if (error != std::errc() || stop != to || !putDouble(out, value)) return false;
  if constexpr (std::is_same_v<T, float>) return !isMiddle(value) || std::from_chars(from, to, *out).ec == std::errc();
  return true;
}

/** An integer of 64 bits, exact. */
template <typename T>
bool readInteger64(Cursor& cursor, T* out) {
  const bool negative = *cursor.at == '-';
  if (negative) cursor.at++;
  const uint8_t* first = cursor.at;
  uint64_t value = 0;
  while (isDigit(*cursor.at)) {
    if (__builtin_mul_overflow(value, 10ull, &value)) return false;
    if (__builtin_add_overflow(value, static_cast<uint64_t>(*cursor.at - '0'), &value)) return false;
    cursor.at++;
  }
  if (cursor.at == first || (*first == '0' && cursor.at - first > 1)) return false;
  if (*cursor.at == '.' || (*cursor.at | 0x20) == 'e') return false;
  if (std::is_signed_v<T> ? value > static_cast<uint64_t>(INT64_MAX) + negative : negative && value > 0) return false;
  *out = static_cast<T>(negative ? 0 - value : value);
  return true;
}

/** Any single element. The cursor stands on a byte of the text. */
template <typename T>
bool readElement(Cursor& cursor, T* out) {
  const uint8_t c = *cursor.at;
  if constexpr (kIs64<T>) return readInteger64(cursor, out);
  if (isDigit(c) || (c == '-' && cursor.at[1] != 'I')) return readLongNumber(cursor, out);
  if constexpr (std::is_same_v<T, bool>) {
    *out = c == 't';
    return *out ? cursor.literal("true", 4) : cursor.literal("false", 5);
  }
  if constexpr (std::is_floating_point_v<T>) {
    if (c == 'N') {
      *out = std::numeric_limits<T>::quiet_NaN();
      return cursor.literal("NaN", 3);
    }
    const T infinity = std::numeric_limits<T>::infinity();
    *out = c == '-' ? -infinity : infinity;
    return c == '-' ? cursor.literal("-Infinity", 9) : cursor.literal("Infinity", 8);
  }
  return false;
}

/** Reads by eights where it can. After eight that take a longer way, some are read one by one before the next attempt. */
template <typename T>
class Eights {
 public:
  explicit Eights(const uint8_t* readable) : readable_(readable) {}

  /** Whether any were read. */
  bool read(const uint8_t* begin, const uint8_t*& at, T*& next, const T* last) {
#ifdef SWITCHYARD_WIDE
    if constexpr (std::is_same_v<T, float>) {
      if (next < resume_ || !wide::enabled || at - begin < wide::kReadBefore) return false;
      const int64_t count = wide::readSingles(at, readable_, next, last - next);
      pause_ = count > 0 ? wide::kLanes : std::min(2 * pause_, kLongestPause);
      next += count;
      resume_ = next + pause_;
      return count > 0;
    }
#endif
    return false;
  }

 private:
  static constexpr int64_t kLongestPause = 256;

  const uint8_t* const readable_;
  const T* resume_ = nullptr;
  int64_t pause_ = wide::kLanes;
};

/** What follows the element that was read last. */
enum class After { kComma, kElsewhere, kNothing };

/**
 * The loop that takes nearly all numbers: each directly followed by a comma (and at most one space) or by ']'. Where a
 * number ends is known before it is read, so reading one does not wait for the one before. Stops with the cursor behind
 * an element (kElsewhere), behind a comma, or, having read nothing, where it was.
 */
template <typename T>
After readRun(Cursor& cursor, Eights<T>& eights, Delimiters& delimiters, Sink<T>& sink) {
  if (cursor.at - cursor.begin < kReadBefore) return After::kNothing;
  const uint8_t* at = cursor.at;
  T* next = sink.next;
  After after = After::kNothing;
  while (next != sink.last) {
    if (eights.read(cursor.begin, at, next, sink.last)) {
      after = After::kComma;
      continue;
    }
    const uint8_t* const to = delimiters.next(at);
    if (to == nullptr || to == at) break;
    Decimal decimal;
    if (!readDecimal(at, to, decimal)) {
      Decimal other;
      if (!readScientific(at, to, other)) break;
      decimal = other;
    }
    if (!put(next, decimal)) break;
    next++;
    if (*to != ',') {
      at = to;
      after = After::kElsewhere;
      break;
    }
    at = to + 1;
    if (*at == ' ') at++;
    after = After::kComma;
  }
  sink.next = next;
  cursor.at = at;
  return after;
}

/** `element` reads one element at the cursor, or several with commas between, and tells whether a comma came last. */
template <typename Element>
bool readArrays(Cursor& cursor, Element element) {
  int depth = 0;
  for (;;) {
    const uint8_t c = cursor.peek();
    bool open = false;
    if (c == '[') {
      if (depth == kMaxDepth) return false;
      depth++;
      cursor.at++;
      cursor.enter(']', open);
      if (!open) depth--;
    } else if (depth == 0 || !element(open)) {
      return false;
    }
    while (!open) {
      if (depth == 0) return true;
      if (!cursor.more(']', open)) return false;
      if (!open) depth--;
    }
  }
}

template <typename T>
bool readInto(Cursor& cursor, const uint8_t* readable, int64_t count, uint8_t* out) {
  Sink<T> sink{reinterpret_cast<T*>(out), reinterpret_cast<T*>(out) + count};
  Eights<T> eights(readable);
  Delimiters delimiters(readable);
  const bool whole = readArrays(cursor, [&](bool& open) {
    const After after = readRun(cursor, eights, delimiters, sink);
    open = after == After::kComma;
    if (after != After::kNothing) return true;
    if (cursor.at == cursor.end || sink.next == sink.last || !readElement(cursor, sink.next)) return false;
    sink.next++;
    return true;
  });
  return whole && sink.next == sink.last;
}

/** Calls `read` with a null pointer of the type's elements. */
template <typename Read>
bool byType(Type type, Read read) {
  switch (type) {
    case kBool:
      return read(static_cast<bool*>(nullptr));
    case kUint8:
      return read(static_cast<uint8_t*>(nullptr));
    case kUint16:
      return read(static_cast<uint16_t*>(nullptr));
    case kUint32:
      return read(static_cast<uint32_t*>(nullptr));
    case kInt8:
      return read(static_cast<int8_t*>(nullptr));
    case kInt16:
      return read(static_cast<int16_t*>(nullptr));
    case kInt32:
      return read(static_cast<int32_t*>(nullptr));
    case kUint64:
      return read(static_cast<uint64_t*>(nullptr));
    case kInt64:
      return read(static_cast<int64_t*>(nullptr));
    case kFp32:
      return read(static_cast<float*>(nullptr));
    case kFp64:
      return read(static_cast<double*>(nullptr));
    default:
      return false;
  }
}

}  // namespace

bool readNumbers(Cursor& cursor, const uint8_t* readable, Type type, int64_t count, uint8_t* out) {
  return byType(type, [&](auto* element) {
    return readInto<std::remove_pointer_t<decltype(element)>>(cursor, readable, count, out);
  });
}

bool readNumber(Cursor& cursor, Type type, uint8_t* out) {
  if (cursor.peek() == 0) return false;
  return byType(type, [&](auto* element) { return readElement(cursor, reinterpret_cast<decltype(element)>(out)); });
}

bool measureStrings(Cursor& cursor, int64_t count, int64_t& bytes) {
  int64_t found = 0;
  bytes = 0;
  const bool whole = readArrays(cursor, [&](bool&) {
    Text text;
    if (found++ == count || !cursor.plainString(text)) return false;
    bytes += 4 + text.length;
    return true;
  });
  return whole && found == count;
}

void copyStrings(Cursor cursor, int64_t count, uint8_t* out) {
  while (count > 0) {
    // Between strings there are only brackets, commas and white space.
    if (*cursor.at != '"') {
      cursor.at++;
      continue;
    }
    Text text{cursor.at, 0};
    cursor.plainString(text);
    std::memcpy(out, &text.length, 4);
    std::memcpy(out + 4, text.at, text.length);
    out += 4 + text.length;
    count--;
  }
}

}  // namespace switchyard
