// What the fuzzers of the GPU stager have in common.
#pragma once

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#define require(holds)                                            \
  do {                                                            \
    if (!(holds)) {                                               \
      std::fprintf(stderr, "%d: not so: %s\n", __LINE__, #holds); \
      std::abort();                                               \
    }                                                             \
  } while (false)

/** What a worker rings from its thread, and the loop's side of it. */
class Bell {
 public:
  void ring() {
    const std::lock_guard<std::mutex> guard(lock_);
    rings_++;
    rung_.notify_all();
  }

  /** Until it has been rung since the last wait. */
  void wait() {
    std::unique_lock<std::mutex> guard(lock_);
    rung_.wait(guard, [this] { return rings_ > heard_; });
    heard_ = rings_;
  }

 private:
  std::mutex lock_;
  std::condition_variable rung_;
  int rings_ = 0;
  int heard_ = 0;
};
