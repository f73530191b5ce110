#include "print_wide.h"

#ifdef SWITCHYARD_WIDE

#include <algorithm>
#include <cstring>

#include "float_text.h"
#include "shortest_single.h"
#include "wide_lanes.h"

namespace switchyard {
namespace wide {
namespace {

// 10^-k for each k of a float's decimal, rounded up as in single::kScales.
constexpr int kLeastScale = -31;
constexpr int kGreatestScale = 45;

struct Powers {
  uint64_t of[kGreatestScale - kLeastScale + 1];
};

constexpr Powers makePowers() {
  Powers table{};
  for (int k = kLeastScale; k <= kGreatestScale; k++) {
    table.of[k - kLeastScale] = powerOfTen(k).high + !(k >= 0 && k <= 27);
  }
  return table;
}

constexpr Powers kPowers = makePowers();

// A number's characters before they are put in order: the digits but the first, then these.
enum Source : uint8_t { kFirst = 8, kZero, kPointMark, kComma, kMinus };

constexpr uint64_t kOtherCharacters = '0' | uint64_t{'0'} << 8 | uint64_t{'.'} << 16 | uint64_t{','} << 24 | uint64_t{'-'} << 32;

constexpr int kTextBytes = 32;

/** Where each character of a text comes from, for each power of ten and sign. */
struct Orders {
  alignas(kTextBytes) uint8_t of[2 * (kSingle.most - kSingle.least + 1)][kTextBytes];
};

constexpr Orders makeOrders() {
  Orders table{};
  for (int exponent = kSingle.least; exponent <= kSingle.most; exponent++) {
    for (int negative = 0; negative < 2; negative++) {
      uint8_t* const order = table.of[2 * (exponent - kSingle.least) + negative];
      int at = 0;
      order[at++] = kComma;
      if (negative != 0) order[at++] = kMinus;
      if (exponent < 0) {
        order[at++] = kZero;
        order[at++] = kPointMark;
        for (int i = exponent; i < -1; i++) order[at++] = kZero;
      }
      for (int digit = 0; at < kTextBytes; digit++) {
        order[at++] = static_cast<uint8_t>(digit == 0 ? int{kFirst} : digit < 9 ? digit - 1 : int{kZero});
        if (digit == exponent) order[at++] = kPointMark;
      }
    }
  }
  return table;
}

constexpr Orders kOrders = makeOrders();

/** Eight floats' decimals, as shortest_single.h tells them. */
struct Decimals {
  __m512i digits;
  __m256i exponents;
};

SWITCHYARD_WIDE inline Decimals shortestDecimals(__m256i magnitudes) {
  constexpr uint64_t kOne = 1ull << single::kPoint;
  // Zero goes through as the least float: what comes of it is replaced in the end.
  const __mmask8 zero = _mm256_cmpeq_epi32_mask(magnitudes, lanes32(0));
  const __m256i bits = _mm256_mask_mov_epi32(magnitudes, zero, lanes32(1));
  const __m256i fraction = _mm256_and_si256(bits, lanes32(0x7fffff));
  const __m256i biased = _mm256_srli_epi32(bits, 23);
  const __mmask8 closer =
      _mm256_mask_cmpgt_epi32_mask(_mm256_cmpeq_epi32_mask(fraction, lanes32(0)), biased, lanes32(1));
  const __m256i q = _mm256_sub_epi32(_mm256_max_epi32(biased, lanes32(1)), lanes32(150));
  const __m256i mantissa =
      _mm256_mask_or_epi32(fraction, _mm256_test_epi32_mask(biased, biased), fraction, lanes32(1 << 23));
  // decimalExponent and binaryExponent.
  const __m256i scaled = _mm256_mullo_epi32(q, lanes32(1262611));
  const __m256i k = _mm256_srai_epi32(_mm256_mask_sub_epi32(scaled, closer, scaled, lanes32(524031)), 22);
  const __m256i scale = _mm256_sub_epi32(lanes32(0), k);
  const __m256i h = _mm256_add_epi32(
      _mm256_add_epi32(q, lanes32(1)), _mm256_srai_epi32(_mm256_mullo_epi32(scale, lanes32(1741647)), 19));
  const __m512i power = _mm512_mask_i32gather_epi64(lanes64(0), 0xff, _mm256_sub_epi32(scale, lanes32(kLeastScale)), kPowers.of, 8);

  const __m512i c = _mm512_cvtepu32_epi64(_mm256_sllv_epi32(mantissa, h));
  const __m512i value = _mm512_add_epi64(_mm512_slli_epi64(_mm512_mul_epu32(c, _mm512_srli_epi64(power, 32)), 2),
                                         _mm512_srli_epi64(_mm512_mul_epu32(c, power), 64 - single::kPoint));
  const __m512i shift = _mm512_sub_epi64(lanes64(31), _mm512_cvtepi32_epi64(h));
  const __m512i above = _mm512_srlv_epi64(power, shift);
  const __m512i below = _mm512_srlv_epi64(power, _mm512_mask_add_epi64(shift, closer, shift, lanes64(1)));
  // An even mantissa is what the ends of its interval round to.
  const __mmask8 odd = _mm256_test_epi32_mask(fraction, lanes32(1));
  const __m512i slack = _mm512_mask_mov_epi64(lanes64(single::kSlack), odd, lanes64(0 - single::kSlack));
  const __m512i lower = _mm512_sub_epi64(_mm512_sub_epi64(value, below), slack);
  const __m512i upper = _mm512_add_epi64(_mm512_add_epi64(value, above), slack);
  const __m512i ones = _mm512_srli_epi64(value, single::kPoint);
  const __m512i tens = _mm512_srli_epi64(_mm512_mul_epu32(ones, lanes64(0xcccccccd)), 35);
  const __m512i tenOnes = _mm512_mul_epu32(tens, lanes64(10));
  const __m512i ten = _mm512_slli_epi64(tenOnes, single::kPoint);
  const __m512i one = _mm512_slli_epi64(ones, single::kPoint);
  const __mmask8 tenBelow = _mm512_cmpge_epu64_mask(ten, lower);
  const __mmask8 tenAbove = _mm512_cmple_epu64_mask(_mm512_add_epi64(ten, lanes64(10 * kOne)), upper);
  const __mmask8 isBelow = _mm512_cmpge_epu64_mask(one, lower);
  const __mmask8 isAbove = _mm512_cmple_epu64_mask(_mm512_add_epi64(one, lanes64(kOne)), upper);
  const __m512i middle = _mm512_mask_mov_epi64(lanes64(kOne / 2 + single::kSlack), _mm512_test_epi64_mask(ones, lanes64(1)),
                                               lanes64(kOne / 2 - single::kSlack));
  const __mmask8 nearer = _mm512_cmpgt_epu64_mask(_mm512_sub_epi64(value, one), middle);
  __m512i digits = _mm512_mask_add_epi64(ones, isAbove & (nearer | static_cast<__mmask8>(~isBelow)), ones, lanes64(1));
  const __m512i shorter = _mm512_mask_add_epi64(tenOnes, tenAbove, tenOnes, lanes64(10));
  digits = _mm512_mask_mov_epi64(digits, tenBelow ^ tenAbove, shorter);
  return {_mm512_mask_mov_epi64(digits, zero, lanes64(0)), _mm256_mask_mov_epi32(k, zero, lanes32(0))};
}

/** Eight digits of each number below 10^8, in a byte each, the first in the lowest. */
SWITCHYARD_WIDE inline __m512i spreadEight(__m512i values) {
  const __m512i high = _mm512_srli_epi64(_mm512_mul_epu32(values, lanes64(0xd1b71759)), 45);
  const __m512i low = _mm512_sub_epi64(values, _mm512_mul_epu32(high, lanes64(10000)));
  const __m512i fours = _mm512_or_si512(high, _mm512_slli_epi64(low, 32));
  const __m512i hundreds = _mm512_srli_epi16(_mm512_mulhi_epu16(fours, _mm512_set1_epi32(10486)), 4);
  const __m512i belowHundred = _mm512_sub_epi32(fours, _mm512_mullo_epi16(hundreds, _mm512_set1_epi32(100)));
  const __m512i twos = _mm512_or_si512(hundreds, _mm512_slli_epi32(belowHundred, 16));
  const __m512i tens = _mm512_mulhi_epu16(twos, _mm512_set1_epi16(6554));
  const __m512i belowTen = _mm512_sub_epi16(twos, _mm512_mullo_epi16(tens, _mm512_set1_epi16(10)));
  return _mm512_or_si512(tens, _mm512_slli_epi16(belowTen, 8));
}

/** Eight numbers ready to be put in order. */
struct Texts {
  /** The digits and other characters of each: the even numbers, then the odd ones. */
  alignas(64) uint8_t sources[kLanes][16];
  alignas(32) uint32_t orders[kLanes];
  alignas(32) uint32_t lengths[kLanes];
};

constexpr int sourceOf(int lane) { return (lane & 1) * (kLanes / 2) + lane / 2; }

/** False where one of them takes a longer way. */
SWITCHYARD_WIDE inline bool spell(const uint8_t* data, __mmask8 lanes, Texts& out) {
  constexpr int kNinth = 100000000;
  const __m256i bits = _mm256_maskz_loadu_epi32(lanes, data);
  const __m256i magnitudes = _mm256_and_si256(bits, lanes32(0x7fffffff));
  auto [digits, k] = shortestDecimals(magnitudes);
  const __mmask8 readTwice = _mm256_cmpeq_epi32_mask(magnitudes, lanes32(kReadTwice));
  digits = _mm512_mask_mov_epi64(digits, readTwice, lanes64(kReadTwiceDecimal.digits));
  k = _mm256_mask_mov_epi32(k, readTwice, lanes32(kReadTwiceDecimal.exponent));

  const __mmask8 ninthMissing = _mm512_cmplt_epu64_mask(digits, lanes64(kNinth));
  const __mmask8 eighthMissing = _mm512_cmplt_epu64_mask(digits, lanes64(kNinth / 10));
  digits = _mm512_mask_mul_epu32(digits, ninthMissing, digits, lanes64(10));
  digits = _mm512_mask_mul_epu32(digits, eighthMissing, digits, lanes64(10));
  __m256i exponents = _mm256_add_epi32(k, lanes32(8));
  exponents = _mm256_mask_sub_epi32(exponents, ninthMissing, exponents, lanes32(1));
  exponents = _mm256_mask_sub_epi32(exponents, eighthMissing, exponents, lanes32(1));
  exponents = _mm256_mask_mov_epi32(exponents, _mm512_testn_epi64_mask(digits, digits), lanes32(0));
  // Subnormals of fewer digits have exponents far beyond these.
  const __m256i row = _mm256_sub_epi32(exponents, lanes32(kSingle.least));
  const __mmask8 rare = _mm256_cmpge_epi32_mask(magnitudes, lanes32(0x7f800000)) |
                        _mm256_cmpgt_epu32_mask(row, lanes32(kSingle.most - kSingle.least));
  if (rare != 0) return false;

  const __m512i first = _mm512_srli_epi64(_mm512_mul_epu32(digits, lanes64(0x55e63b89)), 57);
  const __m512i next = spreadEight(_mm512_sub_epi64(digits, _mm512_mul_epu32(first, lanes64(kNinth))));
  const __m512i nextCharacters = _mm512_or_si512(next, lanes64(kZeroCharacters));
  const __m512i otherCharacters = _mm512_or_si512(first, lanes64(kOtherCharacters));
  _mm512_store_si512(out.sources, _mm512_unpacklo_epi64(nextCharacters, otherCharacters));
  _mm512_store_si512(out.sources + kLanes / 2, _mm512_unpackhi_epi64(nextCharacters, otherCharacters));

  const __m256i sign = _mm256_srli_epi32(bits, 31);
  _mm256_store_si256(reinterpret_cast<__m256i*>(out.orders), _mm256_or_si256(_mm256_slli_epi32(row, 1), sign));
  const __m256i zeros = _mm512_cvtepi64_epi32(_mm512_srli_epi64(_mm512_lzcnt_epi64(next), 3));
  const __m256i count = _mm256_sub_epi32(lanes32(9), zeros);
  // Below one, a zero and the point and zeros go before the digits; else at least one digit stands behind the point.
  const __m256i plain = _mm256_add_epi32(_mm256_max_epi32(count, _mm256_add_epi32(exponents, lanes32(2))), lanes32(1));
  const __m256i withZeros = _mm256_sub_epi32(_mm256_add_epi32(count, lanes32(1)), exponents);
  const __m256i unsignedLength = _mm256_mask_mov_epi32(plain, _mm256_movepi32_mask(exponents), withZeros);
  _mm256_store_si256(reinterpret_cast<__m256i*>(out.lengths),
                     _mm256_add_epi32(_mm256_add_epi32(unsignedLength, sign), lanes32(1)));
  return true;
}

/** Stores the first `count` texts; returns where they end. */
SWITCHYARD_WIDE inline uint8_t* layOut(const Texts& texts, int count, uint8_t* out) {
  for (int n = 0; n < count; n++) {
    const __m256i source = _mm256_broadcastsi128_si256(
        _mm_load_si128(reinterpret_cast<const __m128i*>(texts.sources[sourceOf(n)])));
    const __m256i order = _mm256_load_si256(reinterpret_cast<const __m256i*>(kOrders.of[texts.orders[n]]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_shuffle_epi8(source, order));
    out += texts.lengths[n];
  }
  return out;
}

/** No comma goes before the first of all. */
inline uint8_t* dropComma(uint8_t* start, uint8_t* end) {
  std::memmove(start, start + 1, end - start - 1);
  return end - 1;
}

}  // namespace

SWITCHYARD_WIDE Printed printSingles(const uint8_t* data, int64_t first, int64_t from, int64_t to, uint8_t* out,
                                     const uint8_t* end) {
  int64_t i = from;
  Texts texts;
  // What is read must not depend on where the texts before end, or each eight would wait for those before.
  for (; to - i >= kLanes && end - out >= kLanes * kElementRoom; i += kLanes) {
    if (!spell(data + 4 * i, 0xff, texts)) return {i, out};
    uint8_t* const start = out;
    out = layOut(texts, kLanes, out);
    if (i == first) out = dropComma(start, out);
  }
  const int64_t count = std::min(to - i, (end - out) / int64_t{kElementRoom});
  if (count > 0 && count < kLanes && spell(data + 4 * i, static_cast<__mmask8>((1u << count) - 1), texts)) {
    uint8_t* const start = out;
    out = layOut(texts, static_cast<int>(count), out);
    if (i == first) out = dropComma(start, out);
    i += count;
  }
  return {i, out};
}

}  // namespace wide
}  // namespace switchyard

#endif
