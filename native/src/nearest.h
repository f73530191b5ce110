// The float or double that is nearest to a decimal, ties to even: the decimal is rounded once. Doubles after Daniel Lemire,
// "Number parsing at a gigabyte per second" (2021), with 64 bits of the power of ten, and 128 where those do not decide;
// floats by way of a double that surely rounds to the same one.
#pragma once

#include <cstdint>
#include <cstring>

#include "powers.h"

namespace switchyard {

/** The decimal ±mantissa · 10^exponent. */
struct Decimal {
  uint64_t mantissa;
  int exponent;
  bool negative;
};

/** The lowest of 64 bits that a decimal's digits and power of ten give may be too small by less than this. */
constexpr uint64_t kProductError = 2;

/**
 * The nearest double. False where it cannot be decided here: next to the middle between two doubles, beyond the largest and
 * below the least normal one. The exponent must have a power in the table.
 */
__attribute__((always_inline)) inline bool toNearest(const Decimal& decimal, double& out) {
  constexpr int kDigits = 53;
  constexpr int kBias = 1023;
  // Zero goes through as one: what comes of it is replaced in the end.
  const int zeros = __builtin_clzll(decimal.mantissa | 1);
  const uint64_t significand = decimal.mantissa << zeros;
  const PowerOfTen& power = powerOfTen(decimal.exponent);
  unsigned __int128 product = static_cast<unsigned __int128>(significand) * power.high;
  uint64_t high = static_cast<uint64_t>(product >> 64);
  const int shift = 63 - kDigits + static_cast<int>(high >> 63);
  const uint64_t half = 1ull << (shift - 1);
  uint64_t rest = high & (2 * half - 1);
  if (__builtin_expect(half - rest < kProductError, false)) {
    // Of a double, that is one in a thousand. The same with 64 further bits, which the same error bound holds for.
    product += static_cast<uint64_t>(static_cast<unsigned __int128>(significand) * power.low >> 64);
    high = static_cast<uint64_t>(product >> 64);
    rest = high & (2 * half - 1);
    const uint64_t below = static_cast<uint64_t>(product);
    if (rest == half ? below == 0 : rest + 1 == half && below + kProductError < below) return false;
    rest += rest == half;
  }
  const uint64_t rounded = (high >> shift) + (rest > half);
  const int exponent = binaryExponent(decimal.exponent) - zeros + shift + kDigits + kBias;
  // The digits' highest bit adds one to the exponent, and one more where they were rounded up to a power of two.
  const uint64_t magnitude = (static_cast<uint64_t>(exponent - 1) << (kDigits - 1)) + rounded;
  if (static_cast<unsigned>(exponent - 1) >= 2 * kBias - 1 && decimal.mantissa != 0) return false;
  // By masks: neither zeros nor signs come in an order that a branch could be predicted by.
  const uint64_t bits =
      (magnitude & (0 - static_cast<uint64_t>(decimal.mantissa != 0))) | static_cast<uint64_t>(decimal.negative) << 63;
  std::memcpy(&out, &bits, 8);
  return true;
}

namespace powers {

constexpr int kGreatestDouble = 64;

struct Doubles {
  double of[2 * kGreatestDouble + 1];
};

constexpr Doubles makeDoubles() {
  Doubles table{};
  for (int k = -kGreatestDouble; k <= kGreatestDouble; k++) {
    double value = static_cast<double>(powerOfTen(k).high);
    for (int e = binaryExponent(k) - 63; e != 0; e += e < 0 ? 1 : -1) value *= e < 0 ? 0.5 : 2;
    table.of[k + kGreatestDouble] = value;
  }
  return table;
}

/** The powers of ten as doubles. */
constexpr Doubles kDoubles = makeDoubles();

}  // namespace powers

// Of doubles' bits: the least normal float's, and how far it is to those that are beyond the normal floats.
constexpr uint64_t kLeastNormal = uint64_t{1023 - 126} << 52;
constexpr uint64_t kNormals = uint64_t{253} << 52;

/**
 * The nearest float, under the same conditions; mantissas from 2^63 on are not decided. Of the double computed here,
 * mantissa, power and product were rounded: it is off by less than four of its last bits, of which a float drops 29.
 */
__attribute__((always_inline)) inline bool toNearest(const Decimal& decimal, float& out) {
  const unsigned index = static_cast<unsigned>(decimal.exponent + powers::kGreatestDouble);
  if (index > 2 * powers::kGreatestDouble) return false;
  const double value = static_cast<double>(static_cast<int64_t>(decimal.mantissa)) * powers::kDoubles.of[index];
  uint64_t bits;
  std::memcpy(&bits, &value, 8);
  constexpr uint64_t kMiddle = 1 << 28;
  constexpr uint64_t kError = 4;
  const uint64_t dropped = bits & (2 * kMiddle - 1);
  // A mantissa that is negative as an integer is beyond the normal floats, too.
  if (dropped - (kMiddle - kError) <= 2 * kError || (bits - kLeastNormal >= kNormals && bits != 0)) return false;
  const float single = static_cast<float>(value);
  uint32_t word;
  std::memcpy(&word, &single, 4);
  word |= static_cast<uint32_t>(decimal.negative) << 31;
  std::memcpy(&out, &word, 4);
  return true;
}

}  // namespace switchyard
