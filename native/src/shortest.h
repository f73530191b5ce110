// The shortest decimal that reads back as the same double, and of those the nearest (ties to an even last digit).
// After Raffaele Giulietti, "The Schubfach way to render doubles" (2020).
#pragma once

#include <cstdint>

#include "powers.h"

namespace switchyard {

/** digits · 10^exponent; `digits` may end in zeros. Below 2·10^8 for a float, 10^17 for a double. */
template <typename Bits>
struct ShortDecimal {
  Bits digits;
  int exponent;
};

/** ⌊log10(2^q)⌋, or of three quarters of it, for |q| up to 1500. */
constexpr int decimalExponent(int q, bool threeQuarters) { return (q * 1262611 - (threeQuarters ? 524031 : 0)) >> 22; }

/** The upper 64 bits of power · factor / 2^64, the last bit set where anything below was cut off. */
inline uint64_t roundToOdd(unsigned __int128 power, uint64_t factor) {
  const unsigned __int128 lower = static_cast<unsigned __int128>(static_cast<uint64_t>(power)) * factor;
  const unsigned __int128 product =
      static_cast<unsigned __int128>(static_cast<uint64_t>(power >> 64)) * factor + (lower >> 64);
  return static_cast<uint64_t>(product >> 64) | (static_cast<uint64_t>(product) > 1);
}

/**
 * Of the positive finite double with these bits. Without branches: which of the candidates it is cannot be predicted.
 */
__attribute__((always_inline)) inline ShortDecimal<uint64_t> shortestDecimal(uint64_t bits) {
  const uint64_t fraction = bits & 0xfffffffffffff;
  const int biased = static_cast<int>(bits >> 52);
  const uint64_t c = fraction | static_cast<uint64_t>(biased != 0) << 52;
  const int q = biased - (biased != 0) - 1074;
  // An even mantissa is what the ends of its interval round to.
  const uint64_t outside = c & 1;
  const bool closerBelow = (fraction == 0) & (biased > 1);
  const int k = decimalExponent(q, closerBelow);
  const int h = q + binaryExponent(-k) + 1;
  const unsigned __int128 power =
      (static_cast<unsigned __int128>(powerOfTen(-k).high) << 64 | powerOfTen(-k).low) + !isExactPower(-k);
  const uint64_t lower = roundToOdd(power, (4 * c - 2 + closerBelow) << h) + outside;
  const uint64_t middle = roundToOdd(power, (4 * c) << h);
  const uint64_t upper = roundToOdd(power, (4 * c + 2) << h) - outside;
  // All three are four times the decimal. A multiple of ten within the interval goes before others; there is one at most.
  const uint64_t ones = middle / 4;
  const uint64_t tens = ones / 10;
  const bool tenBelow = lower <= 40 * tens;
  const bool tenAbove = 40 * tens + 40 <= upper;
  const bool below = lower <= 4 * ones;
  const bool above = 4 * ones + 4 <= upper;
  const uint64_t half = 4 * ones + 2;
  const bool nearer = (middle > half) | ((middle == half) & ((ones & 1) != 0));
  // Where both neighbours are within, the nearer one; one of them is.
  const uint64_t digits = ones + (above & (nearer | !below));
  const uint64_t shorter = 10 * (tens + tenAbove);
  // By multiplication, since compilers make a branch of anything else.
  return {digits + static_cast<uint64_t>(tenBelow != tenAbove) * (shorter - digits), k};
}

}  // namespace switchyard
