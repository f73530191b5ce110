#include "read_wide.h"

#ifdef SWITCHYARD_WIDE

#include <algorithm>

#include "nearest.h"
#include "wide_lanes.h"

namespace switchyard {
namespace wide {
namespace {

constexpr int kBlock = 64;
constexpr int kBlocks = 8;
constexpr int kMostCharacters = 24;

/** The commas of a stretch of text. */
struct Commas {
  int found = 0;
  uint16_t places[kBlocks * kBlock];
};

SWITCHYARD_WIDE void find(const uint8_t* from, int blocks, Commas& out) {
  alignas(64) constexpr uint16_t kPlaces[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                                16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
  __m512i places = _mm512_load_si512(kPlaces);
  uint16_t* next = out.places;
  for (int block = 0; block < blocks; block++) {
    const __mmask64 commas = _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(from + block * kBlock), _mm512_set1_epi8(','));
    for (int half = 0; half < 2; half++) {
      const auto mask = static_cast<__mmask32>(commas >> (32 * half));
      _mm512_storeu_si512(next, _mm512_maskz_compress_epi16(mask, places));
      next += __builtin_popcount(mask);
      places = _mm512_add_epi16(places, _mm512_set1_epi16(32));
    }
  }
  out.found = static_cast<int>(next - out.places);
}

/** The powers of ten that decimals are multiplied with, by the place of the point among 32 characters; 32: there is none. */
struct Fractions {
  double of[33];
};

constexpr Fractions makeFractions() {
  Fractions table{};
  for (int point = 0; point <= 32; point++) {
    table.of[point] = powers::kDoubles.of[powers::kGreatestDouble - (point == 32 ? 0 : 31 - point)];
  }
  return table;
}

constexpr Fractions kFractions = makeFractions();

/** What is known of eight numbers but their digits. */
struct Signs {
  /** The places of the points, a byte each. */
  uint64_t points = 0;
  uint32_t negative = 0;
  /** Not 0: one of them is not a plain decimal, whatever its digits are. */
  uint32_t wrong = 0;
};

/**
 * The digits of the number in [from, to), each in a byte of its own, the last one in the last byte. Without a branch: neither
 * length nor point can be predicted.
 */
SWITCHYARD_WIDE inline __m256i digitsOf(const uint8_t* from, const uint8_t* to, int lane, Signs& signs) {
  from += *from == ' ';
  const uint32_t negative = *from == '-';
  const auto length = static_cast<uint32_t>(to - from) - negative;
  const uint32_t inside = 0xffffffffu << ((32 - length) & 31);
  const uint32_t first = inside & (0 - inside);
  const __m256i text = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(to - 32));
  const uint32_t points = _mm256_cmpeq_epi8_mask(text, _mm256_set1_epi8('.')) & inside;
  const uint32_t zeros = _mm256_cmpeq_epi8_mask(text, _mm256_set1_epi8('0'));
  // No second point, no point at either end, no leading zero.
  signs.wrong |= (points & (points - 1)) | (points & (first | 0x80000000)) | (zeros & first & ~(points >> 1) & 0x7fffffff) |
                 (length - 1 >= kMostCharacters);
  signs.negative |= negative << lane;
  signs.points |= static_cast<uint64_t>(_tzcnt_u32(points)) << (8 * lane);
  // What stands before the point moves one to the right and closes the gap.
  const uint32_t before = points != 0 ? points ^ (points - 1) : 0;
  const uint32_t digits = points != 0 ? inside << 1 : inside;
  return _mm256_maskz_sub_epi8(digits, _mm256_mask_loadu_epi8(text, before, to - 33), _mm256_set1_epi8('0'));
}

/** Values of four digits each of two numbers. */
SWITCHYARD_WIDE inline __m512i fours(__m256i one, __m256i other) {
  const __m512i digits = _mm512_inserti64x4(_mm512_castsi256_si512(one), other, 1);
  const __m512i pairs = _mm512_maddubs_epi16(digits, _mm512_set1_epi16(10 | 1 << 8));
  return _mm512_madd_epi16(pairs, _mm512_set1_epi32(100 | 1 << 16));
}

/** Values of eight digits each of four numbers. */
SWITCHYARD_WIDE inline __m512i eights(const __m256i* digits) {
  return _mm512_madd_epi16(_mm512_packus_epi32(fours(digits[0], digits[1]), fours(digits[2], digits[3])),
                           _mm512_set1_epi32(10000 | 1 << 16));
}

/** The `part`-th value of eight digits of all eight numbers. */
SWITCHYARD_WIDE inline __m512d part(__m512i firsts, __m512i lasts, int part) {
  // In the order that fours() and eights() leave: a number has two values in each of two quarters.
  const int at = (part & 1) + (part & 2) * 2;
  const __m256i places = _mm256_add_epi32(_mm256_setr_epi32(0, 8, 2, 10, 16, 24, 18, 26), lanes32(at));
  return _mm512_cvtepu32_pd(
      _mm512_castsi512_si256(_mm512_permutex2var_epi32(firsts, _mm512_castsi256_si512(places), lasts)));
}

/** Reads the numbers before eight commas, the first of which begins at `from`. False where one takes a longer way. */
SWITCHYARD_WIDE inline bool readEight(const uint8_t* text, const uint8_t* from, const uint16_t* commas, float* out) {
  Signs signs;
  __m256i digits[kLanes];
  __m256i greatest = _mm256_setzero_si256();
  for (int lane = 0; lane < kLanes; lane++) {
    const uint8_t* const to = text + commas[lane];
    digits[lane] = digitsOf(from, to, lane, signs);
    greatest = _mm256_max_epu8(greatest, digits[lane]);
    from = to + 1;
  }
  if (signs.wrong != 0 || _mm256_cmpgt_epu8_mask(greatest, _mm256_set1_epi8(9)) != 0) return false;

  const __m512i firsts = eights(digits);
  const __m512i lasts = eights(digits + 4);
  const __m512d eight = _mm512_set1_pd(1e8);
  __m512d value = _mm512_add_pd(_mm512_mul_pd(part(firsts, lasts, 1), eight), part(firsts, lasts, 2));
  value = _mm512_add_pd(_mm512_mul_pd(value, eight), part(firsts, lasts, 3));
  const __m256i points = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(signs.points)));
  value = _mm512_mul_pd(value, _mm512_mask_i32gather_pd(value, 0xff, points, kFractions.of, 8));

  // As in nearest.h, but that the digits were rounded up to three times.
  constexpr uint64_t kMiddle = 1 << 28;
  constexpr uint64_t kError = 8;
  const __m512i bits = _mm512_castpd_si512(value);
  const __m512i dropped = _mm512_and_si512(bits, lanes64(2 * kMiddle - 1));
  const __mmask8 undecided =
      _mm512_cmple_epu64_mask(_mm512_sub_epi64(dropped, lanes64(kMiddle - kError)), lanes64(2 * kError));
  const __mmask8 beyond = _mm512_mask_cmpge_epu64_mask(_mm512_test_epi64_mask(bits, bits),
                                                       _mm512_sub_epi64(bits, lanes64(kLeastNormal)), lanes64(kNormals));
  if ((undecided | beyond) != 0) return false;
  const __m256i singles = _mm256_castps_si256(_mm512_cvtpd_ps(value));
  const auto negative = static_cast<__mmask8>(signs.negative);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                      _mm256_mask_or_epi32(singles, negative, singles, lanes32(0x80000000)));
  return true;
}

}  // namespace

SWITCHYARD_WIDE int64_t readSingles(const uint8_t*& at, const uint8_t* readable, float* out, int64_t count) {
  int64_t read = 0;
  Commas commas;
  while (count - read >= kLanes) {
    const uint8_t* const text = at;
    find(text, static_cast<int>(std::min<int64_t>(kBlocks, (readable - text) / kBlock)), commas);
    int next = 0;
    const uint8_t* from = at;
    while (next + kLanes <= commas.found && count - read >= kLanes) {
      if (!readEight(text, from, commas.places + next, out + read)) {
        at = from + (*from == ' ');
        return read;
      }
      read += kLanes;
      next += kLanes;
      from = text + commas.places[next - 1] + 1;
    }
    if (next == 0) break;
    at = from + (*from == ' ');
  }
  return read;
}

}  // namespace wide
}  // namespace switchyard

#endif
