// Decimals from JSON text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "nearest.h"

#if defined(__SSE2__) && !defined(SWITCHYARD_PORTABLE)
#define SWITCHYARD_SSE2
#include <emmintrin.h>
#endif

namespace switchyard {

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the codecs read and write little-endian memory"
#endif

/** Numbers are read with bytes before them. */
constexpr int kReadBefore = 24;

inline bool isDigit(uint8_t c) { return static_cast<uint8_t>(c - '0') <= 9; }

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
  out.exponent = points != 0 ? point - 15 : 0;
  return true;
}

/**
 * 17 to 24 characters with a point, as of a double written with all its digits. Without a branch that depends on where the
 * point is, like readShortDecimal.
 */
__attribute__((always_inline)) inline bool readLongDecimal(const uint8_t* to, int length, Decimal& out) {
  const int lead = length - 16;
  const __m128i text = loadBytes(to - 16);
  const unsigned points = static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8('.'))));
  const int point = __builtin_ctz(points | 0x10000);
  const __m128i behind = loadBytes(kSlide + ((15 - point) & 31));
  const __m128i whole = _mm_or_si128(_mm_and_si128(behind, text), _mm_andnot_si128(behind, loadBytes(to - 17)));
  const __m128i digits = _mm_sub_epi8(whole, _mm_set1_epi8('0'));
  uint64_t before = (load64(to - 24) >> (64 - 8 * lead)) << (64 - 8 * lead);
  const uint64_t other = before ^ 0x2e2e2e2e2e2e2e2e;
  // 0x80 in each byte that is a point.
  const uint64_t leadPoints = ~(((other & 0x7f7f7f7f7f7f7f7f) + 0x7f7f7f7f7f7f7f7f) | other | 0x7f7f7f7f7f7f7f7f);
  const bool onePoint = ((points & (points - 1)) == 0) & ((leadPoints & (leadPoints - 1)) == 0) &
                        ((points == 0) != (leadPoints == 0));
  // The point goes, or with a point behind, the last one: it belongs to the sixteen.
  const uint64_t upTo = (leadPoints << 1) - 1;
  before = (before & ~upTo) | ((before & (upTo >> 8)) << 8);
  before ^= uint64_t{0x3030303030303000} << (56 - 8 * (lead - 1));
  const uint8_t first = to[-length];
  const bool zeroLed = (first == '0') & (to[1 - length] != '.');
  const uint64_t high = eightDigits(before);
  if (!onePoint | ((((before + 0x7676767676767676) | before) & 0x8080808080808080) != 0) | (first == '.') |
      (point == 15) | zeroLed | (high >= 1844) | !allDigits(digits)) {
    return false;
  }
  out.mantissa = high * 10000000000000000 + sixteenDigits(digits);
  out.exponent = points != 0 ? point - 15 : (__builtin_ctzll(leadPoints) >> 3) - 23;
  return true;
}

/**
 * Reads [from, to) as a plain decimal without exponent. False where that is not what stands there, or where it is one
 * of the rarer forms. kReadBefore bytes before `from` must be readable.
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
  out.exponent = point == nullptr ? 0 : static_cast<int>(point - to) + 1;
  return true;
}

#endif

/** The same for [from, to) with an exponent of one to three digits. False for anything else. */
inline bool readScientific(const uint8_t* from, const uint8_t* to, Decimal& out) {
  const uint8_t* digit = to;
  int exponent = 0;
  for (int scale = 1; scale <= 100 && digit > from && isDigit(digit[-1]); scale *= 10) exponent += (*--digit - '0') * scale;
  const uint8_t* mark = digit;
  if (mark > from && (mark[-1] == '-' || mark[-1] == '+')) mark--;
  if (digit == to || mark - from < 2 || (mark[-1] | 0x20) != 'e' || exponent > 300) return false;
  if (!readDecimal(from, mark - 1, out)) return false;
  out.exponent += *mark == '-' ? -exponent : exponent;
  return true;
}

}  // namespace switchyard
