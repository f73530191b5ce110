#include "stage_pipeline.h"

#include <algorithm>
#include <utility>

namespace switchyard::stage {

Pipeline::Pipeline(int slots) : slots_(static_cast<size_t>(slots)) {
  for (int i = 0; i < slots; i++) free_.push_back(i);
}

int Pipeline::take() {
  if (closing_ || lost_ || free_.empty()) return -1;
  const int oldest = free_.front();
  free_.pop_front();
  at(oldest) = {Phase::kHeld, 0, {}};
  return oldest;
}

void Pipeline::note(Slot& slot, Outcome outcome) {
  lost_ = lost_ || outcome.lost;
  if (!outcome.ok && slot.outcome.ok) slot.outcome = std::move(outcome);
  else if (outcome.lost) slot.outcome.lost = true;
}

void Pipeline::uploaded(int slot, size_t rows, Outcome outcome) {
  Slot& it = at(slot);
  it.phase = Phase::kUploaded;
  it.rows = rows;
  note(it, std::move(outcome));
  runs_.push_back(slot);
}

int Pipeline::nextRun() {
  if (issuing_ || runs_.empty()) return -1;
  const int next = runs_.front();
  runs_.pop_front();
  issuing_ = true;
  at(next).phase = Phase::kIssuing;
  return next;
}

void Pipeline::issued(int slot, Outcome outcome) {
  Slot& it = at(slot);
  note(it, std::move(outcome));
  it.phase = Phase::kIssued;
  issuing_ = false;
  ends_.push_back(slot);
}

int Pipeline::nextEnd() {
  if (ending_ || ends_.empty()) return -1;
  ending_ = true;
  const int next = ends_.front();
  ends_.pop_front();
  return next;
}

void Pipeline::ended(int slot, Outcome outcome) {
  Slot& it = at(slot);
  note(it, std::move(outcome));
  it.phase = Phase::kAnswered;
  ending_ = false;
}

void Pipeline::release(int slot) {
  Slot& it = at(slot);
  it.phase = it.outcome.lost ? Phase::kRetired : Phase::kFree;
  if (it.phase == Phase::kFree) free_.push_back(slot);
}

bool Pipeline::idle() const {
  return std::all_of(slots_.begin(), slots_.end(),
                     [](const Slot& it) { return it.phase == Phase::kFree || it.phase == Phase::kRetired; });
}

int slotsWithin(int wanted, size_t bytes, size_t limit) {
  if (limit == 0 || bytes == 0) return wanted;
  return static_cast<int>(std::min<size_t>(static_cast<size_t>(wanted), limit / bytes));
}

}  // namespace switchyard::stage
