#include "cores.h"

#ifdef __linux__
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <new>
#endif

namespace switchyard {

#ifdef __linux__
namespace {

/** More than any kernel is built for, which refuses to tell what does not fit. */
constexpr int kMostCores = 8192;

struct Mask {
  cpu_set_t sets[kMostCores / CPU_SETSIZE];
};

bool maskOf(const std::vector<int>& cores, Mask& out) {
  CPU_ZERO_S(sizeof out, out.sets);
  for (const int core : cores) {
    if (core < 0 || core >= kMostCores) return false;
    CPU_SET_S(core, sizeof out, out.sets);
  }
  return !cores.empty();
}

bool use(int thread, const Mask& mask) { return sched_setaffinity(thread, sizeof mask, mask.sets) == 0; }

/** Never freed: a fork on another thread may read it. */
std::atomic<const Mask*> childrens{nullptr};

void afterFork() {
  const Mask* const mask = childrens.load(std::memory_order_acquire);
  if (mask != nullptr) use(0, *mask);
}

}  // namespace

std::vector<int> usableCores() {
  std::vector<int> out;
  Mask mask;
  if (sched_getaffinity(0, sizeof mask, mask.sets) != 0) return out;
  for (int core = 0; core < kMostCores; core++) {
    if (CPU_ISSET_S(core, sizeof mask, mask.sets)) out.push_back(core);
  }
  return out;
}

bool useCores(int thread, const std::vector<int>& cores) {
  Mask mask;
  return thread >= 0 && maskOf(cores, mask) && use(thread, mask);
}

bool giveChildrenCores(const std::vector<int>& cores) {
  auto* const mask = new (std::nothrow) Mask();
  if (mask == nullptr || !maskOf(cores, *mask)) {
    delete mask;
    return false;
  }
  static const bool handled = pthread_atfork(nullptr, nullptr, afterFork) == 0;
  childrens.store(mask, std::memory_order_release);
  return handled;
}
#else
std::vector<int> usableCores() { return {}; }

bool useCores(int, const std::vector<int>&) { return false; }

bool giveChildrenCores(const std::vector<int>&) { return false; }
#endif

}  // namespace switchyard
