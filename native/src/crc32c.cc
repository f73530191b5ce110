#include "crc32c.h"

#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#define SWITCHYARD_CRC __attribute__((target("sse4.2")))
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define SWITCHYARD_CRC
#endif

namespace switchyard {

#ifdef SWITCHYARD_CRC

namespace {

SWITCHYARD_CRC inline uint32_t step(uint32_t crc, uint64_t word) {
#if defined(__x86_64__)
  return static_cast<uint32_t>(_mm_crc32_u64(crc, word));
#else
  return __crc32cd(crc, word);
#endif
}

SWITCHYARD_CRC inline uint32_t step(uint32_t crc, uint8_t byte) {
#if defined(__x86_64__)
  return _mm_crc32_u8(crc, byte);
#else
  return __crc32cb(crc, byte);
#endif
}

}  // namespace

bool hasCrc32c() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("sse4.2");
#else
  return true;
#endif
}

SWITCHYARD_CRC uint32_t crc32c(const uint8_t* at, size_t bytes) {
  uint32_t crc = 0xffffffff;
  for (; bytes >= sizeof(uint64_t); at += sizeof(uint64_t), bytes -= sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, at, sizeof(word));
    crc = step(crc, word);
  }
  for (; bytes > 0; at++, bytes--) crc = step(crc, *at);
  return ~crc;
}

#else

bool hasCrc32c() { return false; }

uint32_t crc32c(const uint8_t*, size_t) { return 0; }

#endif

}  // namespace switchyard
