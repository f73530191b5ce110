// Where the numbers of JSON arrays end.
#pragma once

#include <cstdint>

#include "number.h"

namespace switchyard {

/** Bytes looked at together. */
constexpr int kBlock = 64;

#if defined(SWITCHYARD_SSE2)
inline uint64_t delimiterMask16(const uint8_t* at) {
  const __m128i bytes = loadBytes(at);
  const __m128i hits = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(',')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8(']')));
  return static_cast<uint32_t>(_mm_movemask_epi8(hits));
}

/** A bit for each of 64 bytes: set where it is a comma or ']'. */
inline uint64_t delimiterMask(const uint8_t* at) {
  return delimiterMask16(at) | delimiterMask16(at + 16) << 16 | delimiterMask16(at + 32) << 32 |
         delimiterMask16(at + 48) << 48;
}
#else
inline uint64_t delimiterMask(const uint8_t* at) {
  uint64_t mask = 0;
  for (int i = 0; i < kBlock; i++) mask |= static_cast<uint64_t>(at[i] == ',' || at[i] == ']') << i;
  return mask;
}
#endif

/**
 * Finds the commas and ']' of several blocks at once: so the loop that reads what is between them need not guess how many
 * of them a block holds, and reading one number does not wait for the end of the one before.
 */
class Delimiters {
 public:
  /** `readable`: the first byte that must not be read. */
  explicit Delimiters(const uint8_t* readable) : readable_(readable) {}

  /** The first one from `at` on, which is never before the last one asked for; nullptr: none that blocks could tell. */
  const uint8_t* next(const uint8_t* at) {
    for (;;) {
      for (; next_ < found_; next_++) {
        const uint8_t* const place = from_ + places_[next_];
        if (place >= at) return place;
      }
      if (!look(at)) return nullptr;
    }
  }

 private:
  static constexpr int kBlocks = 8;
  static constexpr int kGroup = 4;

  bool look(const uint8_t* at) {
    from_ = at;
    next_ = found_ = 0;
    for (int block = 0; block < kBlocks * kBlock && readable_ - at >= block + kBlock; block += kBlock) {
      uint64_t mask = delimiterMask(at + block);
      const int end = found_ + __builtin_popcountll(mask);
      // By groups, of which the last may write beyond the end: their number is easier to foretell. The highest bit is there
      // for those, as no bits have no lowest one.
      for (; found_ < end; found_ += kGroup) {
        for (int i = 0; i < kGroup; i++) {
          places_[found_ + i] = static_cast<uint16_t>(block + __builtin_ctzll(mask | 1ull << 63));
          mask &= mask - 1;
        }
      }
      found_ = end;
    }
    return found_ > 0;
  }

  const uint8_t* const readable_;
  const uint8_t* from_ = nullptr;
  int next_ = 0;
  int found_ = 0;
  uint16_t places_[kBlocks * kBlock + kGroup];
};

}  // namespace switchyard
