#include "print.h"

#include <charconv>
#include <cstring>
#include <type_traits>

#include "shortest.h"

namespace switchyard {
namespace {

template <typename T>
inline T elementAt(const uint8_t* data, int64_t index) {
  T value;
  std::memcpy(&value, data + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

inline uint8_t* printText(uint8_t* out, const char* text, int length) {
  std::memcpy(out, text, length);
  return out + length;
}

template <typename T>
inline uint8_t* printInteger(uint8_t* out, T value) {
  char* text = reinterpret_cast<char*>(out);
  return reinterpret_cast<uint8_t*>(std::to_chars(text, text + kElementRoom, value).ptr);
}

constexpr char kPairs[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051"
    "525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

constexpr uint32_t kTens32[10] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};

/** Of a value above zero. 1233 / 4096 is a little more than log10(2). */
inline int countDigits(uint32_t value) {
  const int atLeast = ((32 - __builtin_clz(value)) * 1233) >> 12;
  return atLeast + (value >= kTens32[atLeast]);
}

/** How a float type is laid out: beyond these powers of ten with an exponent, which has a plus sign or not. */
struct Layout {
  int least;
  int most;
  bool plus;
};

constexpr Layout kSingle{-7, 15, false};
constexpr Layout kDouble{-6, 20, true};

/** `digits` holds `count` characters, and may be read 24 further ones; the first stands for 10^exponent. */
inline uint8_t* layOut(uint8_t* out, const char* digits, int count, int exponent, const Layout& layout) {
  if (exponent < layout.least || exponent > layout.most) {
    *out++ = digits[0];
    if (count > 1) {
      *out++ = '.';
      out = printText(out, digits + 1, count - 1);
    }
    *out++ = 'e';
    if (exponent > 0 && layout.plus) *out++ = '+';
    return printInteger(out, exponent);
  }
  if (exponent < 0) {
    std::memcpy(out, "0.000000", 8);
    out += 1 - exponent;
    std::memcpy(out, digits, 24);
    return out + count;
  }
  const int whole = exponent + 1;
  std::memcpy(out, digits, 24);
  if (count <= whole) {
    for (int i = count; i < whole; i++) out[i] = '0';
    out[whole] = '.';
    out[whole + 1] = '0';
    return out + whole + 2;
  }
  std::memcpy(out + whole + 1, digits + whole, 24);
  out[whole] = '.';
  return out + count + 1;
}

inline uint8_t* printNonFinite(uint8_t* out, bool isNaN, bool negative) {
  if (isNaN) return printText(out, "NaN", 3);
  return negative ? printText(out, "-Infinity", 9) : printText(out, "Infinity", 8);
}

inline uint8_t* print(uint8_t* out, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x7f800000) return printNonFinite(out, magnitude > 0x7f800000, bits != magnitude);
  *out = '-';
  out += bits >> 31;
  if (magnitude == 0) return printText(out, "0.0", 3);
  ShortDecimal decimal = shortestDecimal(magnitude);
  while (decimal.digits % 10 == 0) {
    decimal.digits /= 10;
    decimal.exponent++;
  }
  const int count = countDigits(decimal.digits);
  // Nine digits, those behind the last one zeros; with them as many bytes as layOut may read.
  const uint32_t nine = decimal.digits * kTens32[9 - count];
  char digits[48];
  const uint32_t upper = nine / 10000;
  const uint32_t lower = nine % 10000;
  digits[0] = static_cast<char>('0' + upper / 10000);
  std::memcpy(digits + 1, kPairs + 2 * (upper % 10000 / 100), 2);
  std::memcpy(digits + 3, kPairs + 2 * (upper % 100), 2);
  std::memcpy(digits + 5, kPairs + 2 * (lower / 100), 2);
  std::memcpy(digits + 7, kPairs + 2 * (lower % 100), 2);
  return layOut(out, digits, count, decimal.exponent + count - 1, kSingle);
}

uint8_t* print(uint8_t* out, double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, 8);
  const uint64_t magnitude = bits & 0x7fffffffffffffff;
  constexpr uint64_t infinity = 0x7ff0000000000000;
  if (magnitude >= infinity) return printNonFinite(out, magnitude > infinity, bits != magnitude);
  *out = '-';
  out += bits >> 63;
  if (magnitude == 0) return printText(out, "0.0", 3);
  // d.ddde±xx: the digits with the point taken out, and the exponent read from the end.
  char text[64];
  double positive;
  std::memcpy(&positive, &magnitude, 8);
  char* const end = std::to_chars(text, text + 32, positive, std::chars_format::scientific).ptr;
  const char* mark = text + 1;
  while (*mark != 'e') mark++;
  int exponent = 0;
  std::from_chars(mark + (mark[1] == '+' ? 2 : 1), end, exponent);
  const int count = mark - text > 1 ? static_cast<int>(mark - text) - 1 : 1;
  char digits[64];
  digits[0] = text[0];
  std::memcpy(digits + 1, text + 2, 24);
  return layOut(out, digits, count, exponent, kDouble);
}

template <typename T>
inline uint8_t* print(uint8_t* out, T value) {
  return printInteger(out, value);
}

template <>
inline uint8_t* print(uint8_t* out, bool value) {
  return value ? printText(out, "true", 4) : printText(out, "false", 5);
}

template <typename T>
Printed printAll(const uint8_t* data, int64_t first, int64_t from, int64_t to, uint8_t* out,
                 const uint8_t* end) {
  int64_t i = from;
  for (; i < to && end - out >= kElementRoom; i++) {
    *out = ',';
    out += i != first;
    if constexpr (std::is_same_v<T, bool>) {
      out = print(out, data[i] != 0);
    } else {
      out = print(out, elementAt<T>(data, i));
    }
  }
  return {i, out};
}

}  // namespace

Printed printElements(Type type, const uint8_t* data, int64_t first, int64_t from, int64_t to, uint8_t* out,
                      const uint8_t* end) {
  switch (type) {
    case kBool:
      return printAll<bool>(data, first, from, to, out, end);
    case kUint8:
      return printAll<uint8_t>(data, first, from, to, out, end);
    case kUint16:
      return printAll<uint16_t>(data, first, from, to, out, end);
    case kUint32:
      return printAll<uint32_t>(data, first, from, to, out, end);
    case kUint64:
      return printAll<uint64_t>(data, first, from, to, out, end);
    case kInt8:
      return printAll<int8_t>(data, first, from, to, out, end);
    case kInt16:
      return printAll<int16_t>(data, first, from, to, out, end);
    case kInt32:
      return printAll<int32_t>(data, first, from, to, out, end);
    case kInt64:
      return printAll<int64_t>(data, first, from, to, out, end);
    case kFp32:
      return printAll<float>(data, first, from, to, out, end);
    case kFp64:
      return printAll<double>(data, first, from, to, out, end);
    default:
      return {from, out};
  }
}

}  // namespace switchyard
