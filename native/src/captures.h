// Who may allocate on a GPU, and when.
#pragma once

#include <mutex>
#include <shared_mutex>

namespace switchyard {

/**
 * While one session captures a CUDA graph, CUDA refuses allocations of the whole process and breaks the capture. So a
 * capture holds this alone, and whatever may allocate or free device or pinned memory holds it shared. A capture that waits
 * lets nobody new in: with readers preferred, a busy process would never get to it. No thread may take it twice.
 */
class Captures {
 public:
  void lock() {
    const std::lock_guard<std::mutex> next(gate_);
    inner_.lock();
  }
  void unlock() { inner_.unlock(); }
  void lock_shared() {
    const std::lock_guard<std::mutex> next(gate_);
    inner_.lock_shared();
  }
  void unlock_shared() { inner_.unlock_shared(); }

 private:
  std::mutex gate_;
  std::shared_mutex inner_;
};

/** The process's own. Never destroyed, as threads may outlive the statics of this library. */
inline Captures& captures() {
  static Captures* const it = new Captures();
  return *it;
}

/** Held by what may allocate on a GPU, if it does: while a graph is captured, that waits. */
inline std::shared_lock<Captures> besideCaptures(bool onGpu) {
  return onGpu ? std::shared_lock<Captures>(captures()) : std::shared_lock<Captures>();
}

}  // namespace switchyard
