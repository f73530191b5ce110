#include "print.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <type_traits>

#include "float_text.h"
#include "print_wide.h"
#include "shortest_single.h"

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

inline uint8_t* printNonFinite(uint8_t* out, bool isNaN, bool negative) {
  if (isNaN) return printText(out, "NaN", 3);
  return negative ? printText(out, "-Infinity", 9) : printText(out, "Infinity", 8);
}

/** Elements that go through each step below before the next step: so the processor works at several at a time. */
constexpr int kBatch = 32;

template <typename Bits>
constexpr Bits kMagnitude = static_cast<Bits>(~Bits{0}) >> 1;

/** Of zero, digits that are zero; of what is not finite, any. */
template <typename Bits>
void shorten(const uint8_t* data, int count, ShortDecimal<Bits>* out) {
  for (int i = 0; i < count; i++) {
    const Bits magnitude = elementAt<Bits>(data, i) & kMagnitude<Bits>;
    ShortDecimal<Bits> decimal = shortestDecimal(magnitude + (magnitude == 0));
    if (sizeof(Bits) == 4 && magnitude == kReadTwice) decimal = {kReadTwiceDecimal.digits, kReadTwiceDecimal.exponent};
    out[i] = {decimal.digits & (Bits{0} - (magnitude != 0)), decimal.exponent};
  }
}

template <typename Bits>
uint8_t* layOutAll(const uint8_t* data, const DigitText* texts, int count, bool comma, const Layout& layout,
                   uint8_t* out) {
  constexpr Bits infinity = sizeof(Bits) == 4 ? 0x7f800000 : static_cast<Bits>(0x7ff0000000000000);
  for (int i = 0; i < count; i++) {
    const Bits bits = elementAt<Bits>(data, i);
    const Bits magnitude = bits & kMagnitude<Bits>;
    *out = ',';
    out += comma;
    comma = true;
    if (magnitude >= infinity) {
      out = printNonFinite(out, magnitude > infinity, bits != magnitude);
    } else {
      *out = '-';
      out += bits != magnitude;
      out = layOut(out, texts[i], layout);
    }
  }
  return out;
}

template <typename Bits>
Printed printFloats(const uint8_t* data, int64_t first, int64_t from, int64_t to, uint8_t* out, const uint8_t* end,
                    const Layout& layout) {
  int64_t i = from;
  int64_t most = kBatch;
  while (i < to && end - out >= kElementRoom) {
#ifdef SWITCHYARD_WIDE
    if (sizeof(Bits) == 4 && wide::enabled) {
      const Printed printed = wide::printSingles(data, first, i, to, out, end);
      i = printed.next;
      out = printed.end;
      most = wide::kLanes;
      if (i == to || end - out < kElementRoom) break;
    }
#endif
    const int count = static_cast<int>(std::min({most, to - i, (end - out) / int64_t{kElementRoom}}));
    const uint8_t* const batch = data + i * static_cast<int64_t>(sizeof(Bits));
    ShortDecimal<Bits> decimals[kBatch];
    DigitText texts[kBatch];
    shorten(batch, count, decimals);
    for (int n = 0; n < count; n++) spell(decimals[n], texts[n]);
    out = layOutAll<Bits>(batch, texts, count, i != first, layout, out);
    i += count;
  }
  return {i, out};
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

uint8_t* layOutRarely(uint8_t* out, const DigitText& text, const Layout& layout) {
  // As many bytes as the fixed lengths below may copy.
  char digits[48];
  digits[0] = static_cast<char>(text.first);
  std::memcpy(digits + 1, &text.next, 8);
  std::memcpy(digits + 9, &text.last, 8);
  if (text.exponent >= layout.least && text.exponent <= layout.most) {
    const int whole = text.exponent + 1;
    const int behind = text.count > whole ? text.count - whole : 1;
    std::memset(digits + 17, '0', 24);
    std::memcpy(out, digits, 24);
    out[whole] = '.';
    std::memcpy(out + whole + 1, digits + whole, 8);
    return out + whole + 1 + behind;
  }
  out[0] = text.first;
  out[1] = '.';
  std::memcpy(out + 2, digits + 1, 16);
  out += text.count > 1 ? text.count + 1 : 1;
  *out++ = 'e';
  if (text.exponent > 0 && layout.plus) *out++ = '+';
  return printInteger(out, text.exponent);
}

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
      return printFloats<uint32_t>(data, first, from, to, out, end, kSingle);
    case kFp64:
      return printFloats<uint64_t>(data, first, from, to, out, end, kDouble);
    default:
      return {from, out};
  }
}

uint8_t* printNumber(uint8_t* out, double value) {
  if (value == 0) return printText(out, "0", 1);
  if (value > -1e9 && value < 1e9 && value == static_cast<int32_t>(value))
    return printInteger(out, static_cast<int32_t>(value));
  const auto* const data = reinterpret_cast<const uint8_t*>(&value);
  uint8_t* const end = printFloats<uint64_t>(data, 0, 0, 1, out, out + kElementRoom, kDouble).end;
  // Whole numbers have no decimal point there.
  return end[-1] == '0' && end[-2] == '.' ? end - 2 : end;
}

}  // namespace switchyard
