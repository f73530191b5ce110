// Which slot does what next. Plain state without threads, locks or a device: stage_worker.cc holds the lock and does what
// is said here, and the fuzzer does the same in every order that it can think of.
#pragma once

#include <cstddef>
#include <deque>
#include <vector>

#include "stage_device.h"

namespace switchyard::stage {

/** Where a slot is on its way; each batch goes through all of them in this order, a failed one too. */
enum class Phase {
  kFree,
  /** A caller fills the slot's host memory. */
  kHeld,
  /** Its upload is queued on the device; it waits for its turn to run. */
  kUploaded,
  /** The issuing thread queues its run and download. */
  kIssuing,
  /** The device works for it, or it has failed and what was queued for it is to be waited for. */
  kIssued,
  /** The device is through with it: the caller reads its host memory. */
  kAnswered,
  /** The device was lost while it worked for it. Never used again. */
  kRetired,
};

/** What the slot's batch is, and what has become of it. */
struct Slot {
  Phase phase = Phase::kFree;
  size_t rows = 0;
  Outcome outcome;
};

class Pipeline {
 public:
  explicit Pipeline(int slots);

  /** A free slot for a caller to fill, or -1: all are in use, the pipeline closes, or the device is lost. */
  int take();
  /** The caller's upload of `rows` rows is queued, or has failed. Batches run in the order of these calls. */
  void uploaded(int slot, size_t rows, Outcome outcome);
  /** The next slot whose run is to be queued, or -1; one at a time. A failed batch passes without a run. */
  int nextRun();
  /** Its run and download are queued, or that has failed. */
  void issued(int slot, Outcome outcome);
  /** The slot whose end is to be waited for next, or -1; one at a time, in the order of issue. */
  int nextEnd();
  /** The device is through with it. `outcome`: of the wait. Its own earlier failure stays. */
  void ended(int slot, Outcome outcome);
  /** The caller has read the answer, or gives back a slot that it took and did not fill. */
  void release(int slot);

  /** No batch is taken any more; those under way end. */
  void close() { closing_ = true; }
  bool closing() const { return closing_; }
  bool lost() const { return lost_; }
  /** Nothing is under way and nobody holds a slot. */
  bool idle() const;
  const Slot& slot(int index) const { return slots_[static_cast<size_t>(index)]; }
  int size() const { return static_cast<int>(slots_.size()); }

 private:
  Slot& at(int slot) { return slots_[static_cast<size_t>(slot)]; }
  void note(Slot& slot, Outcome outcome);

  std::vector<Slot> slots_;
  /** The one unused for longest is taken first. */
  std::deque<int> free_;
  std::deque<int> runs_;
  std::deque<int> ends_;
  bool issuing_ = false;
  bool ending_ = false;
  bool closing_ = false;
  bool lost_ = false;
};

/**
 * How many slots fit: `wanted`, or fewer where `limit` bytes of device memory (0: no limit) do not hold so many of `bytes`
 * each; 0 where not even one does.
 */
int slotsWithin(int wanted, size_t bytes, size_t limit);

}  // namespace switchyard::stage
