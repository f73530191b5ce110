// Powers of ten as floats of 128 bits, by which decimals are read (nearest.h) and printed (shortest.h).
#pragma once

#include <cstdint>

namespace switchyard {

/** The upper and lower half of a significand whose highest bit is set. */
struct PowerOfTen {
  uint64_t high;
  uint64_t low;
};

// Doubles are printed by powers up to the 324th, and read by those from about the -330th on.
constexpr int kLeastPower = -330;
constexpr int kGreatestPower = 324;

/** ⌊log2(10^k)⌋ for |k| up to 1233. */
constexpr int binaryExponent(int k) { return (k * 1741647) >> 19; }

namespace powers {

/** The powers cut off: 10^k = (significand + δ) · 2^(binaryExponent(k) - 127), with 0 ≤ δ < 1, and 0 for exact ones. */
struct Table {
  PowerOfTen of[kGreatestPower - kLeastPower + 1];
};

/** 192 bits with the highest one set: what is cut off on the way to the last power stays below the upper 128 of them. */
struct Significand {
  uint64_t high;
  uint64_t middle;
  uint64_t low;
};

using Wide = unsigned __int128;

constexpr Significand timesFive(const Significand& value) {
  const Wide low = static_cast<Wide>(value.low) * 5;
  const Wide middle = static_cast<Wide>(value.middle) * 5 + static_cast<uint64_t>(low >> 64);
  const Wide high = static_cast<Wide>(value.high) * 5 + static_cast<uint64_t>(middle >> 64);
  // What left the upper word is 2, 3 or 4.
  const int shift = (high >> 64) < 4 ? 2 : 3;
  return {static_cast<uint64_t>(high >> shift),
          static_cast<uint64_t>((high << 64 | static_cast<uint64_t>(middle)) >> shift),
          static_cast<uint64_t>((middle << 64 | static_cast<uint64_t>(low)) >> shift)};
}

constexpr Significand byFive(const Significand& value) {
  // Four times the value by five, so that at most one leading bit is missing.
  Wide rest = value.high >> 62;
  const uint64_t words[3] = {value.high << 2 | value.middle >> 62, value.middle << 2 | value.low >> 62, value.low << 2};
  uint64_t quotient[3] = {};
  for (int i = 0; i < 3; i++) {
    const Wide dividend = rest << 64 | words[i];
    quotient[i] = static_cast<uint64_t>(dividend / 5);
    rest = dividend % 5;
  }
  if (quotient[0] >> 63 != 0) return {quotient[0], quotient[1], quotient[2]};
  return {quotient[0] << 1 | quotient[1] >> 63, quotient[1] << 1 | quotient[2] >> 63, quotient[2] << 1};
}

constexpr Table makeTable() {
  constexpr Significand one{1ull << 63, 0, 0};
  Table table{};
  Significand value = one;
  for (int k = 0; k <= kGreatestPower; k++) {
    table.of[k - kLeastPower] = {value.high, value.middle};
    value = timesFive(value);
  }
  value = one;
  for (int k = 0; k >= kLeastPower; k--) {
    table.of[k - kLeastPower] = {value.high, value.middle};
    value = byFive(value);
  }
  return table;
}

constexpr Table kTable = makeTable();

}  // namespace powers

/** 10^k cut off to 128 bits: (high · 2^64 + low) · 2^(binaryExponent(k) - 127). */
constexpr const PowerOfTen& powerOfTen(int k) { return powers::kTable.of[k - kLeastPower]; }

/** Whether powerOfTen(k) is all of 10^k: 5^55 is the last power of five below 2^128. */
constexpr bool isExactPower(int k) { return k >= 0 && k <= 55; }

}  // namespace switchyard
