#include "give_way.h"

#ifdef __linux__
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#endif

namespace switchyard {

#ifdef __linux__
namespace {

/** The kernel's, of which not every libc has a declaration. */
struct SchedAttributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;
  uint64_t deadline;
  uint64_t period;
};

constexpr int kNicest = 19;
/** The longest that the kernel takes. */
constexpr uint64_t kSliceNs = 100'000'000;

}  // namespace
#endif

void giveWay([[maybe_unused]] int by) {
#ifdef __linux__
  // Of this thread only, as Linux takes it.
  const int nice = std::min(getpriority(PRIO_PROCESS, 0) + std::min(by, kNicest), kNicest);
  SchedAttributes attributes{};
  attributes.size = sizeof attributes;
  attributes.policy = SCHED_BATCH;
  attributes.nice = nice;
  attributes.runtime = kSliceNs;
  // Older kernels leave the slice unread; a sandbox may know the older call only.
  if (syscall(SYS_sched_setattr, 0, &attributes, 0) != 0) setpriority(PRIO_PROCESS, 0, nice);
#endif
}

}  // namespace switchyard
