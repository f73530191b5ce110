#include "stage_worker.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

namespace switchyard::stage {

bool fillRows(uint8_t* to, const std::vector<Piece>& pieces, size_t rows, size_t whole, size_t rowBytes) {
  size_t at = 0;
  for (const Piece& piece : pieces) {
    if (piece.bytes > rows * rowBytes - at) return false;
    if (piece.bytes > 0) std::memcpy(to + at, piece.data, piece.bytes);
    at += piece.bytes;
  }
  if (at == 0 || at % rowBytes != 0) return false;
  for (; at < whole * rowBytes; at += rowBytes) std::memcpy(to + at, to + at - rowBytes, rowBytes);
  return true;
}

Outcome queueUpload(Device& device, int slot, size_t rows) {
  Outcome outcome = device.copyIn(slot, rows);
  return outcome.ok ? device.record(Event::kUploaded, slot) : outcome;
}

Outcome queueRun(Device& device, int slot, size_t rows, int graph) {
  Outcome outcome = device.wait(Event::kUploaded, slot);
  if (outcome.ok) outcome = device.launch(slot, rows, graph);
  if (outcome.ok) outcome = device.record(Event::kRan, slot);
  if (outcome.ok) outcome = device.wait(Event::kRan, slot);
  if (outcome.ok) outcome = device.copyOut(slot, rows);
  if (outcome.ok) outcome = device.record(Event::kDownloaded, slot);
  return outcome;
}

Outcome awaitEnd(Device& device, int slot, bool failed) {
  Outcome outcome;
  if (!failed) {
    outcome = device.sync(slot);
    if (outcome.ok || outcome.lost) return outcome;
  }
  const Outcome drained = device.drain(slot);
  if (drained.ok) return outcome;
  // Nobody knows whether the device still uses the slot's memory: it is as good as lost.
  if (outcome.ok) outcome = drained;
  outcome.lost = true;
  return outcome;
}

int graphOf(const std::vector<size_t>& buckets, int slot, size_t rows) {
  const auto found = std::find(buckets.begin(), buckets.end(), rows);
  if (found == buckets.end()) return 0;
  return 1 + slot * static_cast<int>(buckets.size()) + static_cast<int>(found - buckets.begin());
}

Outcome prepare(Device& device, int slots, const std::vector<size_t>& buckets, size_t most) {
  std::vector<size_t> sizes = buckets;
  if (sizes.empty()) sizes.push_back(1);
  if (buckets.empty() && most > 1) sizes.push_back(most);
  for (int slot = 0; slot < slots; slot++) {
    for (const size_t rows : sizes) {
      Outcome outcome = queueUpload(device, slot, rows);
      // Nothing may be queued while a graph is captured, not even its own upload.
      if (outcome.ok) outcome = device.drain(slot);
      if (outcome.ok) outcome = queueRun(device, slot, rows, graphOf(buckets, slot, rows));
      const Outcome end = awaitEnd(device, slot, !outcome.ok);
      if (!outcome.ok) return outcome;
      if (!end.ok) return end;
    }
  }
  return {};
}

Worker::Worker(Open open, std::vector<size_t> buckets, size_t most, Wake wake)
    : open_(std::move(open)), buckets_(std::move(buckets)), most_(most), wake_(std::move(wake)) {
  issuer_ = std::thread([this] { issue(); });
}

Worker::~Worker() { close(); }

Worker::State Worker::state(std::string& problem) {
  const std::lock_guard<std::mutex> guard(lock_);
  problem = problem_;
  return state_;
}

int Worker::slots() {
  const std::lock_guard<std::mutex> guard(lock_);
  return pipeline_ == nullptr ? 0 : pipeline_->size();
}

bool Worker::lost() {
  const std::lock_guard<std::mutex> guard(lock_);
  return pipeline_ != nullptr && pipeline_->lost();
}

int Worker::take() {
  const std::lock_guard<std::mutex> guard(lock_);
  return state_ == State::kOpen && !closing_ ? pipeline_->take() : -1;
}

size_t Worker::padded(size_t rows) const {
  const auto found = std::lower_bound(buckets_.begin(), buckets_.end(), rows);
  return found == buckets_.end() ? rows : *found;
}

void Worker::submit(int slot, size_t rows) {
  const size_t whole = padded(rows);
  Outcome outcome = queueUpload(*device_, slot, whole);
  const std::lock_guard<std::mutex> guard(lock_);
  pipeline_->uploaded(slot, whole, std::move(outcome));
  changed_.notify_all();
}

std::vector<std::pair<int, Outcome>> Worker::answered() {
  const std::lock_guard<std::mutex> guard(lock_);
  woken_ = false;
  return std::move(answers_);
}

bool Worker::isAnswered(int slot) {
  const std::lock_guard<std::mutex> guard(lock_);
  return pipeline_ != nullptr && slot >= 0 && slot < pipeline_->size() && pipeline_->slot(slot).phase == Phase::kAnswered;
}

void Worker::release(int slot) {
  const std::lock_guard<std::mutex> guard(lock_);
  pipeline_->release(slot);
  changed_.notify_all();
}

void Worker::close() {
  {
    const std::lock_guard<std::mutex> guard(lock_);
    closing_ = true;
    if (pipeline_ != nullptr) pipeline_->close();
    changed_.notify_all();
  }
  if (issuer_.joinable()) issuer_.join();
  if (awaiter_.joinable()) awaiter_.join();
  device_.reset();
}

std::unique_ptr<Device> Worker::make(int& slots, std::string& problem) {
  int most = std::numeric_limits<int>::max();
  for (;;) {
    slots = most;
    std::unique_ptr<Device> device = open_(slots, problem);
    if (device == nullptr) return nullptr;
    const Outcome outcome = prepare(*device, slots, buckets_, most_);
    if (outcome.ok) return device;
    problem = outcome.message;
    most = slots - 1;
    if (outcome.lost || most == 0) return nullptr;
  }
}

void Worker::issue() {
  int slots = 0;
  std::string problem;
  std::unique_ptr<Device> device = make(slots, problem);
  std::unique_lock<std::mutex> guard(lock_);
  state_ = device == nullptr ? State::kFailed : State::kOpen;
  if (device == nullptr) {
    problem_ = std::move(problem);
  } else {
    device_ = std::move(device);
    pipeline_ = std::make_unique<Pipeline>(slots);
    awaiter_ = std::thread([this] { await(); });
  }
  const bool open = state_ == State::kOpen;
  guard.unlock();
  wake_();
  guard.lock();
  while (open) {
    const int slot = pipeline_->nextRun();
    if (slot < 0) {
      if (closing_) break;
      changed_.wait(guard);
      continue;
    }
    const size_t rows = pipeline_->slot(slot).rows;
    Outcome outcome = pipeline_->slot(slot).outcome;
    guard.unlock();
    if (outcome.ok) outcome = queueRun(*device_, slot, rows, graphOf(buckets_, slot, rows));
    guard.lock();
    pipeline_->issued(slot, std::move(outcome));
    changed_.notify_all();
  }
  issued_ = true;
  changed_.notify_all();
}

void Worker::await() {
  std::unique_lock<std::mutex> guard(lock_);
  for (;;) {
    const int slot = pipeline_->nextEnd();
    if (slot < 0) {
      if (issued_) break;
      changed_.wait(guard);
      continue;
    }
    const bool failed = !pipeline_->slot(slot).outcome.ok;
    guard.unlock();
    Outcome outcome = awaitEnd(*device_, slot, failed);
    guard.lock();
    pipeline_->ended(slot, std::move(outcome));
    answers_.emplace_back(slot, pipeline_->slot(slot).outcome);
    if (woken_) continue;
    woken_ = true;
    guard.unlock();
    wake_();
    guard.lock();
  }
}

}  // namespace switchyard::stage
