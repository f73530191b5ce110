// Numbers for all of eight lanes.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "wide.h"

// Of values that g++ 12's intrinsics leave open because nothing of them is used.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace switchyard {
namespace wide {

SWITCHYARD_WIDE inline __m512i lanes64(uint64_t value) { return _mm512_set1_epi64(static_cast<int64_t>(value)); }
SWITCHYARD_WIDE inline __m256i lanes32(uint32_t value) { return _mm256_set1_epi32(static_cast<int32_t>(value)); }

}  // namespace wide
}  // namespace switchyard
