// Decimals as JSON text, without branches that depend on how many digits there are or where the point is: real data would
// make the processor guess wrong at nearly every number.
#pragma once

#include <cstdint>
#include <cstring>

#include "shortest.h"

namespace switchyard {

constexpr uint64_t kZeroCharacters = 0x3030303030303030;

/**
 * Eight decimal digits of a value below 10^8, each in a byte of its own, the last in the lowest one: halves, quarters and
 * eighths of the word are divided at once. The multipliers divide by 100 and 10, exactly for what is below 10^4 and 100.
 */
inline uint64_t spreadDigits(uint32_t value) {
  const uint64_t fours = value % 10000 | static_cast<uint64_t>(value / 10000) << 32;
  const uint64_t hundreds = ((fours * 10486) >> 20) & 0x0000007f0000007f;
  const uint64_t twos = fours + hundreds * (65536 - 100);
  const uint64_t tens = ((twos * 103) >> 10) & 0x000f000f000f000f;
  return twos + tens * (256 - 10);
}

/** How many of eight spread digits are zeros at the end. */
inline int zerosBehind(uint64_t digits) { return digits == 0 ? 8 : __builtin_ctzll(digits) >> 3; }

inline uint64_t characters(uint64_t digits) { return __builtin_bswap64(digits) | kZeroCharacters; }

/** Seventeen characters, of which `count` are the decimal's digits and zeros follow. The first one stands for 10^exponent. */
struct DigitText {
  uint64_t next;
  uint64_t last;
  int count;
  int exponent;
  uint8_t first;
};

__attribute__((always_inline)) inline void spell(const ShortDecimal<uint32_t>& decimal, DigitText& text) {
  constexpr uint32_t kNinth = 100000000;
  constexpr uint32_t kScales[3] = {1, 10, 100};
  const int missing = (decimal.digits < kNinth) + (decimal.digits < kNinth / 10);
  uint32_t digits = decimal.digits * kScales[missing];
  int exponent = decimal.exponent + 8 - missing;
  // Subnormals have fewer.
  for (; __builtin_expect(digits < kNinth, false) && digits != 0; exponent--) digits *= 10;
  const uint64_t next = spreadDigits(digits % kNinth);
  text.first = static_cast<uint8_t>('0' + digits / kNinth);
  text.next = characters(next);
  text.last = kZeroCharacters;
  text.count = 9 - zerosBehind(next);
  text.exponent = digits != 0 ? exponent : 0;
}

__attribute__((always_inline)) inline void spell(const ShortDecimal<uint64_t>& decimal, DigitText& text) {
  constexpr uint64_t kSeventeenth = 10000000000000000;
  const int missing = decimal.digits < kSeventeenth;
  uint64_t digits = decimal.digits * (missing != 0 ? 10 : 1);
  int exponent = decimal.exponent + 16 - missing;
  for (; __builtin_expect(digits < kSeventeenth, false) && digits != 0; exponent--) digits *= 10;
  const uint64_t rest = digits % kSeventeenth;
  const uint64_t next = spreadDigits(static_cast<uint32_t>(rest / 100000000));
  const uint64_t last = spreadDigits(static_cast<uint32_t>(rest % 100000000));
  text.first = static_cast<uint8_t>('0' + digits / kSeventeenth);
  text.next = characters(next);
  text.last = characters(last);
  text.count = last == 0 ? 9 - zerosBehind(next) : 17 - zerosBehind(last);
  text.exponent = digits != 0 ? exponent : 0;
}

/** How a float type is laid out: beyond these powers of ten with an exponent, which has a plus sign or not. */
struct Layout {
  int least;
  int most;
  bool plus;
};

constexpr Layout kSingle{-7, 15, false};
constexpr Layout kDouble{-6, 20, true};

/** Where the digits go for one power of ten. */
struct Placement {
  /** Of sixteen bytes, 255 in those before the point, and in those behind it. */
  uint64_t before[2];
  uint64_t behind[2];
  uint64_t point[2];
  /** Bytes before the digits: "0.", and zeros. */
  int lead;
  /** 1 where the point stands among the digits. */
  int inside;
  /** Digits printed at least: those before the point, and one behind it. */
  int least;
};

// Of what is laid out without an exponent, all that has its point within sixteen bytes.
constexpr int kLeastPlaced = -7;
constexpr int kMostPlaced = 12;

struct Placements {
  Placement of[kMostPlaced - kLeastPlaced + 1];
};

constexpr Placements makePlacements() {
  Placements table{};
  for (int exponent = kLeastPlaced; exponent <= kMostPlaced; exponent++) {
    Placement& placement = table.of[exponent - kLeastPlaced];
    placement.inside = exponent >= 0;
    placement.lead = exponent < 0 ? 1 - exponent : 0;
    placement.least = exponent < 0 ? 1 : exponent + 2;
    const int point = exponent < 0 ? 16 : exponent + 1;
    for (int i = 0; i < 16; i++) {
      uint64_t* const part = i < point ? placement.before : i > point ? placement.behind : placement.point;
      part[i / 8] |= (i == point ? uint64_t{'.'} : 0xff) << (8 * (i % 8));
    }
  }
  return table;
}

constexpr Placements kPlacements = makePlacements();

/** The same for an exponent beyond the layout's, or the placements. */
uint8_t* layOutRarely(uint8_t* out, const DigitText& text, const Layout& layout);

/** Returns the end of the text. Up to 48 bytes are written. */
inline uint8_t* layOut(uint8_t* out, const DigitText& text, const Layout& layout) {
  if (text.exponent < layout.least || text.exponent > kMostPlaced) return layOutRarely(out, text, layout);
  const Placement& placement = kPlacements.of[text.exponent - kLeastPlaced];
  std::memcpy(out, "0.000000", 8);
  uint8_t* const at = out + placement.lead;
  // Digits behind the point stand one further right.
  std::memcpy(at + 9 + placement.inside, &text.last, 8);
  const uint64_t digits[2] = {text.first | text.next << 8, text.next >> 56 | text.last << 8};
  const uint64_t moved[2] = {digits[0] << 8, digits[1] << 8 | digits[0] >> 56};
  for (int i = 0; i < 2; i++) {
    const uint64_t word = (digits[i] & placement.before[i]) | (moved[i] & placement.behind[i]) | placement.point[i];
    std::memcpy(at + 8 * i, &word, 8);
  }
  return at + (text.count > placement.least ? text.count : placement.least) + placement.inside;
}

}  // namespace switchyard
