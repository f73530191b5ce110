// Where the processor works at 64 bytes at once (AVX-512 with VBMI2: Ice Lake, Zen 4 and later), floats are printed and read
// eight at a time. What runs there is compiled for it function by function; the rest of the addon runs anywhere.
#pragma once

#include <cstdlib>
#include <cstring>

#if defined(__x86_64__) && !defined(SWITCHYARD_PORTABLE)
#define SWITCHYARD_WIDE __attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi,bmi2,lzcnt")))
#endif

namespace switchyard {
namespace wide {

/** Elements worked at together. */
constexpr int kLanes = 8;

#ifdef SWITCHYARD_WIDE
inline bool supported() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("bmi2");
}
#else
inline bool supported() { return false; }
#endif

/** Tests read and print one by one where the processor could do more (SWITCHYARD_WIDE=off); the fuzzer does both, to compare them. */
inline bool wanted() {
  const char* setting = std::getenv("SWITCHYARD_WIDE");
  return setting == nullptr || std::strcmp(setting, "off") != 0;
}

inline bool enabled = supported() && wanted();

}  // namespace wide
}  // namespace switchyard
