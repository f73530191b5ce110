// JSON numbers from text, correctly rounded, with the same results as src/protocol/json/number.ts.
#pragma once

#include <cstdint>
#include <cstring>

namespace switchyard {

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the codecs read and write little-endian memory"
#endif

inline uint64_t load64(const uint8_t* at) {
  uint64_t word;
  std::memcpy(&word, at, 8);
  return word;
}

inline bool isDigit(uint8_t c) { return static_cast<uint8_t>(c - '0') <= 9; }

/** The decimal ±mantissa · 10^-fraction. */
struct Decimal {
  uint64_t mantissa;
  int fraction;
  bool negative;
};

/** Value of eight decimal digits, each in a byte of its own, the first in the lowest byte. */
inline uint64_t eightDigits(uint64_t digits) {
  digits = digits * 10 + (digits >> 8);
  constexpr uint64_t low = 0x000000FF000000FF;
  return (((digits & low) * 0x000F424000000064) + (((digits >> 16) & low) * 0x0000271000000001)) >> 32;
}

/** The `count` (1 to 8) digits that end before `end` into `value`; reads eight bytes. False: not all are digits. */
inline bool lastDigits(const uint8_t* end, int count, uint64_t& value) {
  // What lies before the digits is shifted out below, so that they become leading zeros.
  uint64_t digits = ((load64(end - 8) ^ 0x3030303030303030) >> (64 - 8 * count)) << (64 - 8 * count);
  if ((((digits + 0x7676767676767676) | digits) & 0x8080808080808080) != 0) return false;
  value = eightDigits(digits);
  return true;
}

constexpr uint64_t kTens[20] = {1ull,
                                10ull,
                                100ull,
                                1000ull,
                                10000ull,
                                100000ull,
                                1000000ull,
                                10000000ull,
                                100000000ull,
                                1000000000ull,
                                10000000000ull,
                                100000000000ull,
                                1000000000000ull,
                                10000000000000ull,
                                100000000000000ull,
                                1000000000000000ull,
                                10000000000000000ull,
                                100000000000000000ull,
                                1000000000000000000ull,
                                10000000000000000000ull};

/**
 * Reads [from, to) as a plain decimal without exponent. The sixteen bytes before `from` must be readable. False where
 * that is not what stands there, or where it has more than 18 digits before the point or too many for 64 bits in all.
 */
inline bool readDecimal(const uint8_t* from, const uint8_t* to, Decimal& out) {
  const uint8_t* at = from;
  out.negative = *at == '-';
  at += out.negative;
  uint64_t whole = static_cast<uint8_t>(*at - '0');
  if (whole > 9) return false;
  at++;
  if (at == to) {
    out.mantissa = whole;
    out.fraction = 0;
    return true;
  }
  if (*at != '.') {
    if (whole == 0) return false;
    while (isDigit(*at)) {
      if (at - from >= 18 + out.negative) return false;
      whole = whole * 10 + (*at++ - '0');
      if (at == to) {
        out.mantissa = whole;
        out.fraction = 0;
        return true;
      }
    }
    if (*at != '.') return false;
  }
  at++;
  const int count = static_cast<int>(to - at);
  out.fraction = count;
  uint64_t low;
  if (count <= 8) {
    if (count == 0 || !lastDigits(to, count, low)) return false;
    // Up to 18 digits before the point and 8 behind it may overflow.
    if (whole >= 100000000000ull) return false;
    out.mantissa = whole * kTens[count] + low;
    return true;
  }
  uint64_t high;
  if (!lastDigits(to, 8, low)) return false;
  if (count <= 16) {
    if (!lastDigits(to - 8, count - 8, high)) return false;
    if (whole >= 1000) return false;
    out.mantissa = (whole * kTens[count - 8] + high) * kTens[8] + low;
    return true;
  }
  uint64_t top;
  if (count > 20 || !lastDigits(to - 8, 8, high) || !lastDigits(to - 16, count - 16, top)) return false;
  if (whole > 9) return false;
  top += whole * kTens[count - 16];
  if (top >= 1844) return false;
  out.mantissa = (top * kTens[8] + high) * kTens[8] + low;
  return true;
}

/** Powers of ten that a double holds exactly. */
constexpr double kExactPowers[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                     1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/** 10^-n for n = 0 … 22 as mantissa · 2^exponent, the mantissa cut to 64 bits with the highest one set. */
struct Reciprocals {
  uint64_t mantissa[23];
  int exponent[23];
};

constexpr Reciprocals makeReciprocals() {
  Reciprocals table{};
  // 10^-n as 128 bits with the highest one set. Each step cuts off less than 16 units of the last bit, all steps
  // together less than 2^9: far below the 64 bits that are dropped in the end.
  unsigned __int128 value = static_cast<unsigned __int128>(1) << 127;
  int exponent = -127;
  for (int n = 0; n <= 22; n++) {
    table.mantissa[n] = static_cast<uint64_t>(value >> 64);
    table.exponent[n] = exponent + 64;
    value /= 10;
    while ((value >> 127) == 0) {
      value <<= 1;
      exponent--;
    }
  }
  return table;
}

constexpr Reciprocals kReciprocals = makeReciprocals();

/** The decimal as the nearest double, ties to even. False where that cannot be decided here. */
inline bool toDouble(const Decimal& decimal, double& out) {
  const uint64_t mantissa = decimal.mantissa;
  double value;
  if (mantissa < (1ull << 53)) {
    // Both sides are exact, so the division rounds correctly.
    value = static_cast<double>(mantissa) / kExactPowers[decimal.fraction];
  } else {
    // The product with the reciprocal in 128 bits. The reciprocal is below the true one by less than 1 + 2^-50 of its
    // last bit, so the true product lies less than 3 above `high`, in units of its last bit.
    const int zeros = __builtin_clzll(mantissa);
    const unsigned __int128 product =
        static_cast<unsigned __int128>(mantissa << zeros) * kReciprocals.mantissa[decimal.fraction];
    uint64_t high = static_cast<uint64_t>(product >> 64);
    const int shift = 10 + static_cast<int>(high >> 63);
    const uint64_t half = 1ull << (shift - 1);
    const uint64_t rest = high & (2 * half - 1);
    if (rest + 3 > half && rest <= half) return false;
    high = (high >> shift) + (rest > half);
    // 2^53 · 10^-22 is far above the subnormals and 2^64 far below infinity: only the exponent is left to set.
    const int exponent = kReciprocals.exponent[decimal.fraction] + 64 - zeros + shift;
    uint64_t power = static_cast<uint64_t>(exponent + 1023) << 52;
    double scale;
    std::memcpy(&scale, &power, 8);
    value = static_cast<double>(high) * scale;
  }
  out = decimal.negative ? -value : value;
  return true;
}

}  // namespace switchyard
