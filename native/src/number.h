// JSON numbers from text, correctly rounded, with the same results as src/protocol/json/number.ts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__) && !defined(SWITCHYARD_PORTABLE)
#define SWITCHYARD_SSE2
#include <emmintrin.h>
#endif

namespace switchyard {

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the codecs read and write little-endian memory"
#endif

inline bool isDigit(uint8_t c) { return static_cast<uint8_t>(c - '0') <= 9; }

/** The decimal ±mantissa · 10^-fraction, with a fraction of up to kMaxFraction. */
struct Decimal {
  uint64_t mantissa;
  int fraction;
  bool negative;
};

constexpr int kMaxFraction = 22;

#if defined(SWITCHYARD_SSE2)

inline uint64_t load64(const uint8_t* at) {
  uint64_t word;
  std::memcpy(&word, at, 8);
  return word;
}

/** Value of eight decimal digits, each in a byte of its own, the first in the lowest byte. */
inline uint64_t eightDigits(uint64_t digits) {
  digits = digits * 10 + (digits >> 8);
  constexpr uint64_t low = 0x000000FF000000FF;
  return (((digits & low) * 0x000F424000000064) + (((digits >> 16) & low) * 0x0000271000000001)) >> 32;
}

/** Value of sixteen digits, the first in the lowest byte. */
inline uint64_t sixteenDigits(__m128i digits) {
  const __m128i even = _mm_and_si128(digits, _mm_set1_epi16(0xff));
  const __m128i pairs = _mm_add_epi16(_mm_mullo_epi16(even, _mm_set1_epi16(10)), _mm_srli_epi16(digits, 8));
  const __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(100 | (1 << 16)));
  const __m128i packed = _mm_packs_epi32(fours, fours);
  const __m128i eights = _mm_madd_epi16(packed, _mm_set1_epi32(10000 | (1 << 16)));
  const uint64_t both = static_cast<uint64_t>(_mm_cvtsi128_si64(eights));
  return (both & 0xffffffff) * 100000000 + (both >> 32);
}

/** Sixteen bytes read from `kSlide + n` on have their last n set. Reading from beyond 16 on sets all. */
alignas(16) constexpr uint8_t kSlide[48] = {
    0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};

inline __m128i loadBytes(const uint8_t* at) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)); }

/** Whether all bytes are digits, given that '0' was taken from each. */
inline bool allDigits(__m128i digits) {
  const __m128i above = _mm_subs_epu8(digits, _mm_set1_epi8(9));
  return _mm_movemask_epi8(_mm_cmpeq_epi8(above, _mm_setzero_si128())) == 0xffff;
}

/**
 * 1 to 16 characters that end before `to`, without a branch that depends on how many there are or where the point is:
 * real data would make the processor guess wrong at nearly every number.
 */
__attribute__((always_inline)) inline bool readShortDecimal(const uint8_t* to, int length, Decimal& out) {
  const __m128i text = loadBytes(to - 16);
  const unsigned inside = 0xffffu & (0xffffu << (16 - length));
  const unsigned points = static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8('.')))) & inside;
  // 0 to 15, and 16 where there is none: then the line below sets all bytes.
  const int point = __builtin_ctz(points | 0x10000);
  const __m128i behind = loadBytes(kSlide + ((15 - point) & 31));
  // What stands before the point moves one to the right and closes the gap.
  const __m128i whole = _mm_or_si128(_mm_and_si128(behind, text), _mm_andnot_si128(behind, loadBytes(to - 17)));
  const int count = length - (points != 0);
  const __m128i digits =
      _mm_and_si128(_mm_sub_epi8(whole, _mm_set1_epi8('0')), loadBytes(kSlide + count));
  const uint8_t first = to[-length];
  const bool zeroLed = (first == '0') & (count > 1) & (to[1 - length] != '.');
  // No second point, no point at either end, no leading zero.
  if (((points & (points - 1)) != 0) | (first == '.') | (point == 15) | zeroLed | !allDigits(digits)) return false;
  out.mantissa = sixteenDigits(digits);
  out.fraction = points != 0 ? 15 - point : 0;
  return true;
}

/** 17 to 24 characters, as of a double written with all its digits, the point among the first eight of them. */
inline bool readLongDecimal(const uint8_t* to, int length, Decimal& out) {
  const int lead = length - 16;
  const __m128i digits = _mm_sub_epi8(loadBytes(to - 16), _mm_set1_epi8('0'));
  uint64_t text = (load64(to - 24) >> (64 - 8 * lead)) << (64 - 8 * lead);
  const uint64_t other = text ^ 0x2e2e2e2e2e2e2e2e;
  // 0x80 in each byte that is a point.
  const uint64_t points = ~(((other & 0x7f7f7f7f7f7f7f7f) + 0x7f7f7f7f7f7f7f7f) | other | 0x7f7f7f7f7f7f7f7f);
  if (points == 0 || (points & (points - 1)) != 0 || lead == 1) return false;
  const uint64_t upTo = (points << 1) - 1;
  text = (text & ~upTo) | ((text & (upTo >> 8)) << 8);
  const int count = lead - 1;
  text ^= (0x3030303030303030 >> (64 - 8 * count)) << (64 - 8 * count);
  const uint8_t first = to[-length];
  const bool zeroLed = (first == '0') & (to[1 - length] != '.');
  const uint64_t high = eightDigits(text);
  if (((((text + 0x7676767676767676) | text) & 0x8080808080808080) != 0) | (first == '.') | zeroLed | (high >= 1844) |
      !allDigits(digits)) {
    return false;
  }
  out.mantissa = high * 10000000000000000 + sixteenDigits(digits);
  out.fraction = 16 + 7 - (__builtin_ctzll(points) >> 3);
  return true;
}

/**
 * Reads [from, to) as a plain decimal without exponent. False where that is not what stands there, or where it is one
 * of the rarer forms. The sixteen bytes before `from` must be readable.
 */
__attribute__((always_inline)) inline bool readDecimal(const uint8_t* from, const uint8_t* to, Decimal& out) {
  out.negative = *from == '-';
  const ptrdiff_t length = to - from - out.negative;
  if (length <= 16) return length > 0 && readShortDecimal(to, static_cast<int>(length), out);
  return length <= 24 && readLongDecimal(to, static_cast<int>(length), out);
}

#else

__attribute__((always_inline)) inline bool readDecimal(const uint8_t* from, const uint8_t* to, Decimal& out) {
  out.negative = *from == '-';
  const uint8_t* at = from + out.negative;
  const uint8_t* const first = at;
  const uint8_t* point = nullptr;
  if (at == to || to - at > 20) return false;
  uint64_t mantissa = 0;
  for (; at < to; at++) {
    if (isDigit(*at)) {
      mantissa = mantissa * 10 + (*at - '0');
    } else if (*at == '.' && point == nullptr && at != first && at + 1 != to) {
      point = at;
    } else {
      return false;
    }
  }
  // 20 digits may have been too many.
  if (to - first - (point != nullptr) > 19) return false;
  if (*first == '0' && to - first > 1 && first[1] != '.') return false;
  out.mantissa = mantissa;
  out.fraction = point == nullptr ? 0 : static_cast<int>(to - point) - 1;
  return true;
}

#endif

/** Powers of ten that a double holds exactly. */
constexpr double kExactPowers[kMaxFraction + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                     1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/** 10^-n for n = 0 … 22 as mantissa · 2^exponent, the mantissa cut to 64 bits with the highest one set. */
struct Reciprocals {
  uint64_t mantissa[kMaxFraction + 1];
  int exponent[kMaxFraction + 1];
};

constexpr Reciprocals makeReciprocals() {
  Reciprocals table{};
  // 10^-n as 128 bits with the highest one set. Each step cuts off less than 16 units of the last bit, all steps
  // together less than 2^9: far below the 64 bits that are dropped in the end.
  unsigned __int128 value = static_cast<unsigned __int128>(1) << 127;
  int exponent = -127;
  for (int n = 0; n <= kMaxFraction; n++) {
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
  // By its bit: signs come in no order that a branch could be predicted by.
  uint64_t bits;
  std::memcpy(&bits, &value, 8);
  bits ^= static_cast<uint64_t>(decimal.negative) << 63;
  std::memcpy(&out, &bits, 8);
  return true;
}

}  // namespace switchyard
