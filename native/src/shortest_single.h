// The shortest decimal of a float, by the same rules as shortest.h tells it of a double, in 64-bit fixed point and with all
// that depends on the exponent in a table. Compared once with Schubfach in its plain form for all floats.
#pragma once

#include <cstdint>

#include "shortest.h"

namespace switchyard {
namespace single {

/** For the floats of one exponent. Lengths are in units of 10^k, with kPoint bits behind the point. */
struct Scale {
  uint64_t power;
  /** From a float to the ends of what is read as it. */
  uint64_t below;
  uint64_t above;
  int32_t k;
  int16_t shift;
  /** The mantissa's highest bit; 0 for subnormals. */
  int16_t hidden;
};

constexpr int kPoint = 34;

/** The second row is for powers of two: their neighbours below are nearer. */
struct Scales {
  Scale of[2][256];
};

constexpr Scales makeScales() {
  Scales table{};
  for (int closer = 0; closer < 2; closer++) {
    for (int biased = 0; biased < 256; biased++) {
      const int q = biased - (biased != 0) - 149;
      const int k = decimalExponent(q, closer != 0);
      const int h = q + binaryExponent(-k) + 1;
      // Rounded up: 5^27 is the last power of five below 2^64.
      const uint64_t power = powerOfTen(-k).high + !(k <= 0 && k >= -27);
      table.of[closer][biased] = {power,
                                  power >> (31 - h + closer),
                                  power >> (31 - h),
                                  k,
                                  static_cast<int16_t>(kPoint + h),
                                  static_cast<int16_t>(biased != 0)};
    }
  }
  return table;
}

constexpr Scales kScales = makeScales();

/** What was cut off adds up to less, and an end of an interval that is not itself a decimal is farther from all of them. */
constexpr uint64_t kSlack = 8;

}  // namespace single

/** The one float whose shortest decimal, 7.038531e-26, becomes its neighbour for those who read it as a double first. */
constexpr uint32_t kReadTwice = 0x15ae43fd;
constexpr ShortDecimal<uint32_t> kReadTwiceDecimal{70385307, -33};

/** Of the positive finite float with these bits. */
__attribute__((always_inline)) inline ShortDecimal<uint32_t> shortestDecimal(uint32_t bits) {
  constexpr uint64_t kOne = 1ull << single::kPoint;
  const uint32_t fraction = bits & 0x7fffff;
  const uint32_t biased = bits >> 23;
  const single::Scale& scale = single::kScales.of[(fraction == 0) & (biased > 1)][biased];
  const uint64_t c = fraction | static_cast<uint32_t>(scale.hidden) << 23;
  const uint64_t value = static_cast<uint64_t>(static_cast<unsigned __int128>(c << scale.shift) * scale.power >> 64);
  // An even mantissa is what the ends of its interval round to.
  const uint64_t slack = single::kSlack - 2 * single::kSlack * (c & 1);
  const uint64_t lower = value - scale.below - slack;
  const uint64_t upper = value + scale.above + slack;
  const uint64_t ones = value >> single::kPoint;
  const uint64_t tens = static_cast<uint32_t>(ones) / 10;
  const uint64_t ten = tens * (10 * kOne);
  const uint64_t one = ones << single::kPoint;
  const bool tenBelow = ten >= lower;
  const bool tenAbove = ten + 10 * kOne <= upper;
  const bool below = one >= lower;
  const bool above = one + kOne <= upper;
  // From the middle on, an odd one goes up and an even one stays.
  const bool nearer = value - one > kOne / 2 + single::kSlack - 2 * single::kSlack * (ones & 1);
  const uint32_t digits = static_cast<uint32_t>(ones) + (above & (nearer | !below));
  const uint32_t shorter = 10 * (static_cast<uint32_t>(tens) + tenAbove);
  return {digits + static_cast<uint32_t>(tenBelow != tenAbove) * (shorter - digits), scale.k};
}

}  // namespace switchyard
