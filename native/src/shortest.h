// The shortest decimal that reads back as the same float, and of those the nearest (ties to an even last digit).
// After Raffaele Giulietti, "The Schubfach way to render doubles" (2020), in 64-bit arithmetic for binary32.
#pragma once

#include <cstdint>

namespace switchyard {

/** digits · 10^exponent; `digits` may end in zeros. */
struct ShortDecimal {
  uint32_t digits;
  int exponent;
};

constexpr int kMinPower = -31;
constexpr int kMaxPower = 45;

/** ⌈10^k · 2^s⌉ for k from kMinPower on, s chosen so that the highest of 64 bits is set. */
struct PowerTable {
  uint64_t value[kMaxPower - kMinPower + 1];
};

constexpr PowerTable makePowerTable() {
  using Wide = unsigned __int128;
  PowerTable table{};
  // 5^k below 2^105: exact, and the power of two does not matter.
  Wide power = 1;
  for (int k = 0; k <= kMaxPower; k++) {
    Wide shifted = power;
    while ((shifted >> 127) == 0) shifted <<= 1;
    const uint64_t high = static_cast<uint64_t>(shifted >> 64);
    table.value[k - kMinPower] = high + (static_cast<uint64_t>(shifted) != 0);
    power *= 5;
  }
  // 2^s / 5^k by long division, bit after bit, up to 64 significant ones.
  power = 5;
  for (int k = -1; k >= kMinPower; k--) {
    Wide rest = 1;
    uint64_t quotient = 0;
    while ((quotient >> 63) == 0) {
      rest <<= 1;
      quotient <<= 1;
      if (rest >= power) {
        rest -= power;
        quotient |= 1;
      }
    }
    table.value[k - kMinPower] = quotient + (rest != 0);
    power *= 5;
  }
  return table;
}

constexpr PowerTable kPowers = makePowerTable();

/** The upper 32 bits of power · factor / 2^32, its last bit set where anything below was cut off. */
inline uint32_t roundToOdd(uint64_t power, uint32_t factor) {
  const unsigned __int128 product = static_cast<unsigned __int128>(power) * factor;
  const uint32_t low = static_cast<uint32_t>(static_cast<uint64_t>(product >> 32));
  return static_cast<uint32_t>(product >> 64) | (low > 1);
}

/** `bits`: a positive finite float. */
inline ShortDecimal shortestDecimal(uint32_t bits) {
  // The one float whose shortest decimal, 7.038531e-26, becomes its neighbour for those who read it as a double first.
  if (bits == 0x15ae43fd) return {70385307, -33};
  const uint32_t fraction = bits & 0x7fffff;
  const int biased = static_cast<int>(bits >> 23);
  const uint32_t c = biased != 0 ? fraction | 0x800000 : fraction;
  const int q = (biased != 0 ? biased : 1) - 150;
  if (q <= 0 && q > -24 && (c & ((1u << -q) - 1)) == 0) return {c >> -q, 0};
  // An even mantissa is what the ends of its interval round to.
  const uint32_t outside = c & 1;
  const bool closerBelow = fraction == 0 && biased > 1;
  const int k = (q * 1262611 - (closerBelow ? 524031 : 0)) >> 22;
  const int h = q + ((-k * 1741647) >> 19) + 1;
  const uint64_t power = kPowers.value[-k - kMinPower];
  const uint32_t lower = roundToOdd(power, (4 * c - 2 + closerBelow) << h) + outside;
  const uint32_t middle = roundToOdd(power, (4 * c) << h);
  const uint32_t upper = roundToOdd(power, (4 * c + 2) << h) - outside;
  const uint32_t s = middle / 4;
  if (s >= 10) {
    const uint32_t tens = s / 10;
    const bool below = lower <= 40 * tens;
    const bool above = 40 * tens + 40 <= upper;
    if (below != above) return {tens + above, k + 1};
  }
  const bool below = lower <= 4 * s;
  const bool above = 4 * s + 4 <= upper;
  if (below != above) return {s + above, k};
  const uint32_t half = 4 * s + 2;
  return {s + (middle > half || (middle == half && (s & 1) != 0)), k};
}

}  // namespace switchyard
