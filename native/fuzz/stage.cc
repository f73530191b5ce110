// A libFuzzer target for the stager of native/src, over a device of its own:  .ci/fuzz.sh SECONDS
// The device keeps its streams' work in queues and does it whenever, and in whatever order, the bytes of the input say, as far
// as streams and events leave it a choice; copies are done in halves. Calls fail, and the device is lost, when the bytes say so.
// Checked: no memory is touched while it is its owner's, no batch runs before its upload, answers are right, come in order and
// once each, a failure fails its own batch only, graphs are captured once each with nothing else queued, and all ends on close.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "check.h"
#include "stage_pipeline.h"
#include "stage_worker.h"

namespace {

using namespace switchyard::stage;

constexpr size_t kMaxRows = 4;
constexpr size_t kRowBytes = 6;
constexpr size_t kBytes = kMaxRows * kRowBytes;

/** Decisions, as the input's bytes give them; after its end they go on by arithmetic. */
struct Choices {
  const uint8_t* at;
  const uint8_t* end;
  uint32_t state = 1;
  uint8_t next() {
    state = state * 1664525u + 1013904223u;
    return at < end ? *at++ : static_cast<uint8_t>(state >> 24);
  }
  bool over() const { return at >= end; }
};

/** What the model does to a byte. */
uint8_t model(uint8_t byte, size_t row) { return static_cast<uint8_t>(byte * 7 + row + 1); }

class FakeDevice : public Device {
 public:
  FakeDevice(int slots, Choices& choices, std::vector<size_t> buckets)
      : choices_(choices), buckets_(std::move(buckets)), streams_(static_cast<size_t>(slots) + 1), slots_(static_cast<size_t>(slots)) {}

  uint8_t* input(int slot, size_t) override { return at(slot).hostIn; }
  const uint8_t* output(int slot, size_t) override { return at(slot).hostOut; }

  Outcome copyIn(int slot, size_t rows) override { return queue(slot, {Op::kCopyIn, slot, rows}, slot); }
  Outcome copyOut(int slot, size_t rows) override { return queue(slot, {Op::kCopyOut, slot, rows}, slot); }
  Outcome launch(int slot, size_t rows, int graph) override {
    const std::lock_guard<std::mutex> guard(lock_);
    if (graph > 0 && !lost_ && captured_.count(graph) == 0) {
      // A capture breaks when anything else is queued: only the wait for the upload may be.
      for (const auto& stream : streams_) {
        for (const Op& op : stream) require(op.kind == Op::kWait);
      }
      captured_.insert(graph);
      captures++;
    }
    require(graph == 0 || graph == graphOf(buckets_, slot, rows));
    return queueLocked(compute(), {Op::kLaunch, slot, rows}, slot);
  }
  Outcome record(Event event, int slot) override {
    const std::lock_guard<std::mutex> guard(lock_);
    Op op{Op::kRecord, slot, 0, event};
    op.turn = at(slot).recorded[static_cast<int>(event)] + 1;
    Outcome outcome = queueLocked(event == Event::kRan ? compute() : slot, op, slot);
    if (outcome.ok) at(slot).recorded[static_cast<int>(event)]++;
    return outcome;
  }
  Outcome wait(Event event, int slot) override {
    const std::lock_guard<std::mutex> guard(lock_);
    Op op{Op::kWait, slot, 0, event};
    op.turn = at(slot).recorded[static_cast<int>(event)];
    return queueLocked(event == Event::kRan ? slot : compute(), op, slot);
  }
  Outcome sync(int slot) override {
    for (;;) {
      const std::lock_guard<std::mutex> guard(lock_);
      Outcome failed;
      if (fails(slot, failed)) return failed;
      const int event = static_cast<int>(Event::kDownloaded);
      if (at(slot).fired[event] == at(slot).recorded[event]) return {};
      require(progress());
    }
  }
  Outcome drain(int slot) override {
    for (;;) {
      const std::lock_guard<std::mutex> guard(lock_);
      if (lost_) return lostOutcome();
      if (streams_[static_cast<size_t>(slot)].empty() && streams_.back().empty()) return {};
      require(progress());
    }
  }

  /** The slot's memory is its caller's from now on, or the device's. */
  void own(int slot, bool caller) {
    const std::lock_guard<std::mutex> guard(lock_);
    at(slot).caller = caller;
    if (caller) at(slot).injected = false;
  }
  bool injected(int slot) {
    const std::lock_guard<std::mutex> guard(lock_);
    return at(slot).injected;
  }
  bool isLost() {
    const std::lock_guard<std::mutex> guard(lock_);
    return lost_;
  }
  void fail(uint8_t every) {
    const std::lock_guard<std::mutex> guard(lock_);
    failEvery_ = every;
  }
  void lose() {
    const std::lock_guard<std::mutex> guard(lock_);
    lost_ = true;
    for (auto& stream : streams_) stream.clear();
  }
  /** Does one thing; false: there is nothing to do, or nothing that may be done. */
  bool step() {
    const std::lock_guard<std::mutex> guard(lock_);
    return progress();
  }
  /** Does all that the slot's stream can do without the compute stream. */
  void finishCopies(int slot) {
    const std::lock_guard<std::mutex> guard(lock_);
    while (runnable(streams_[static_cast<size_t>(slot)])) execute(static_cast<size_t>(slot));
  }
  size_t queued(int stream) { return streams_[static_cast<size_t>(stream)].size(); }
  int compute() const { return static_cast<int>(streams_.size()) - 1; }

  size_t captures = 0;

 private:
  struct Op {
    enum Kind { kCopyIn, kLaunch, kCopyOut, kRecord, kWait } kind;
    int slot;
    size_t rows;
    Event event = Event::kRan;
    uint64_t turn = 0;
    bool half = false;
  };
  struct Memory {
    uint8_t hostIn[kBytes] = {};
    uint8_t hostOut[kBytes] = {};
    uint8_t in[kBytes] = {};
    uint8_t out[kBytes] = {};
    uint64_t recorded[3] = {};
    uint64_t fired[3] = {};
    bool caller = true;
    bool injected = false;
  };

  Memory& at(int slot) { return slots_[static_cast<size_t>(slot)]; }
  static Outcome lostOutcome() { return {false, true, "the device is lost"}; }

  bool fails(int slot, Outcome& outcome) {
    if (lost_) outcome = lostOutcome();
    else if (failEvery_ != 0 && ++calls_ % failEvery_ == 0) outcome = {false, false, "it was to fail"};
    else return false;
    at(slot).injected = true;
    return true;
  }
  Outcome queue(int stream, Op op, int slot) {
    const std::lock_guard<std::mutex> guard(lock_);
    return queueLocked(stream, op, slot);
  }
  Outcome queueLocked(int stream, Op op, int slot) {
    Outcome failed;
    if (fails(slot, failed)) return failed;
    streams_[static_cast<size_t>(stream)].push_back(op);
    // Some of it is done before the next call even comes.
    for (uint8_t n = choices_.next() % 4; n > 0 && progress(); n--) continue;
    return {};
  }
  bool runnable(const std::deque<Op>& stream) {
    if (stream.empty()) return false;
    const Op& op = stream.front();
    return op.kind != Op::kWait || at(op.slot).fired[static_cast<int>(op.event)] >= op.turn;
  }
  bool progress() {
    const size_t first = choices_.next() % streams_.size();
    for (size_t i = 0; i < streams_.size(); i++) {
      const size_t stream = (first + i) % streams_.size();
      if (!runnable(streams_[stream])) continue;
      execute(stream);
      return true;
    }
    return false;
  }
  void execute(size_t stream) {
    Op& op = streams_[stream].front();
    Memory& memory = at(op.slot);
    const size_t bytes = op.rows * kRowBytes;
    const size_t from = op.half ? bytes / 2 : 0;
    const size_t length = op.half ? bytes - bytes / 2 : bytes / 2;
    if (op.kind == Op::kRecord) memory.fired[static_cast<int>(op.event)] = op.turn;
    if (op.kind == Op::kCopyIn || op.kind == Op::kCopyOut || op.kind == Op::kLaunch) {
      require(!memory.caller);
      if (op.kind == Op::kCopyIn) std::memcpy(memory.in + from, memory.hostIn + from, length);
      if (op.kind == Op::kCopyOut) std::memcpy(memory.hostOut + from, memory.out + from, length);
      if (op.kind == Op::kLaunch) {
        for (size_t i = from; i < from + length; i++) memory.out[i] = model(memory.in[i], i / kRowBytes);
      }
      if (!op.half) {
        op.half = true;
        return;
      }
    }
    streams_[stream].pop_front();
  }

  Choices& choices_;
  const std::vector<size_t> buckets_;
  std::mutex lock_;
  std::vector<std::deque<Op>> streams_;
  std::vector<Memory> slots_;
  std::set<int> captured_;
  uint8_t failEvery_ = 0;
  uint32_t calls_ = 0;
  bool lost_ = false;
};

/** A batch as its caller knows it. */
struct Batch {
  uint64_t number = 0;
  size_t rows = 0;
  uint8_t bytes[kBytes] = {};
};

/** Fills a slot that was taken, with a batch in pieces of whole rows, whose last row is repeated up to `whole`. */
void fill(FakeDevice& device, int slot, Batch& batch, uint64_t number, size_t whole, Choices& choices) {
  batch.number = number;
  const size_t own = batch.rows * kRowBytes;
  for (size_t i = 0; i < kBytes; i++) batch.bytes[i] = i < own ? choices.next() : batch.bytes[i - kRowBytes];
  std::vector<Piece> pieces{{nullptr, 0}};
  for (size_t at = 0; at < own;) {
    const size_t bytes = std::min(own - at, (1 + choices.next() % 3) * kRowBytes);
    pieces.push_back({batch.bytes + at, bytes});
    at += bytes;
  }
  // Not before it has as many rows as it says, no torn ones, and none too many.
  require(!fillRows(device.input(slot, 0), {}, batch.rows, whole, kRowBytes));
  require(!fillRows(device.input(slot, 0), {{batch.bytes, kRowBytes - 1}}, batch.rows, whole, kRowBytes));
  if (batch.rows < kMaxRows) require(!fillRows(device.input(slot, 0), {{batch.bytes, own + kRowBytes}}, batch.rows, whole, kRowBytes));
  require(fillRows(device.input(slot, 0), pieces, batch.rows, whole, kRowBytes));
  require(std::memcmp(device.input(slot, 0), batch.bytes, whole * kRowBytes) == 0);
  device.own(slot, false);
}

/** Checks an answer, and makes its memory unfit for whoever still uses it. */
void check(FakeDevice& device, int slot, const Batch& batch, const Outcome& outcome, bool lostBefore) {
  // Its own calls failed, or it did not.
  require(outcome.ok == !device.injected(slot));
  require(outcome.ok || !outcome.message.empty());
  require(!outcome.lost || device.isLost() || !outcome.ok);
  require(outcome.ok || outcome.lost == false || lostBefore || device.isLost());
  device.own(slot, true);
  for (size_t i = 0; outcome.ok && i < batch.rows * kRowBytes; i++) {
    require(device.output(slot, 0)[i] == model(batch.bytes[i], i / kRowBytes));
  }
  std::memset(device.input(slot, 0), 0xEE, kBytes);
  std::memset(const_cast<uint8_t*>(device.output(slot, 0)), 0xEE, kBytes);
}

std::vector<size_t> bucketsBy(uint8_t byte) {
  if (byte % 3 == 0) return {};
  return byte % 3 == 1 ? std::vector<size_t>{1, 2, 4} : std::vector<size_t>{4};
}

size_t padded(const std::vector<size_t>& buckets, size_t rows) {
  for (const size_t bucket : buckets) {
    if (bucket >= rows) return bucket;
  }
  return rows;
}

/** Every order of the three threads' steps and of the device's, in one thread. */
void everyOrder(int slots, Choices& choices, const std::vector<size_t>& buckets) {
  FakeDevice device(slots, choices, buckets);
  for (int i = 0; i < slots; i++) device.own(i, false);
  require(prepare(device, slots, buckets, kMaxRows).ok);
  require(device.captures == static_cast<size_t>(slots) * buckets.size());
  for (int i = 0; i < slots; i++) device.own(i, true);
  Pipeline pipeline(slots);
  std::map<int, Batch> batches;
  std::deque<int> answered;
  uint64_t taken = 0;
  uint64_t read = 0;
  const auto act = [&](uint8_t choice) {
    switch (choice % 8) {
      case 0:
      case 1: {
        const int slot = pipeline.take();
        require(slot < 0 || !(pipeline.closing() || pipeline.lost()));
        if (slot < 0) return false;
        Batch& batch = batches[slot];
        batch.rows = 1 + choices.next() % kMaxRows;
        const size_t whole = padded(buckets, batch.rows);
        fill(device, slot, batch, taken++, whole, choices);
        pipeline.uploaded(slot, whole, queueUpload(device, slot, whole));
        return true;
      }
      case 2: {
        const int slot = pipeline.nextRun();
        if (slot < 0) return false;
        Outcome outcome = pipeline.slot(slot).outcome;
        const size_t rows = pipeline.slot(slot).rows;
        require(pipeline.nextRun() < 0);
        if (outcome.ok) outcome = queueRun(device, slot, rows, graphOf(buckets, slot, rows));
        pipeline.issued(slot, outcome);
        return true;
      }
      case 3: {
        const int slot = pipeline.nextEnd();
        if (slot < 0) return false;
        require(pipeline.nextEnd() < 0);
        pipeline.ended(slot, awaitEnd(device, slot, !pipeline.slot(slot).outcome.ok));
        answered.push_back(slot);
        return true;
      }
      case 4: {
        if (answered.empty()) return false;
        const int slot = answered.front();
        answered.pop_front();
        require(pipeline.slot(slot).phase == Phase::kAnswered);
        // In the order in which they were taken.
        require(batches[slot].number == read++);
        check(device, slot, batches[slot], pipeline.slot(slot).outcome, pipeline.lost());
        pipeline.release(slot);
        return true;
      }
      case 5:
        return device.step();
      case 6:
        if (choice < 250) return device.step();
        device.fail(choices.next() % 16);
        return true;
      default:
        if (choice == 255) device.lose();
        else if (choice == 247) pipeline.close();
        return false;
    }
  };
  while (!choices.over()) act(choices.next());
  pipeline.close();
  require(pipeline.take() < 0);
  // Whatever is under way ends, without any further help of the device's own.
  while (act(2) || act(3) || act(4)) continue;
  require(pipeline.idle() && read == taken);
  require(device.captures == static_cast<size_t>(slots) * buckets.size());
}

/** The worker's own threads. */
void threads(int slots, Choices& choices, const std::vector<size_t>& buckets) {
  Bell bell;
  // The device's choices are made under its lock, by any thread; the caller has its own.
  Choices own{choices.at, choices.end, 7};
  FakeDevice* device = nullptr;
  const bool refuse = choices.next() % 16 == 0;
  // So many times the first runs fail, and the device is made again with a slot less.
  int failing = choices.next() % 4 == 0 ? choices.next() % 3 : 0;
  const int left = slots - failing;
  const auto open = [&](int& made, std::string& problem) -> std::unique_ptr<Device> {
    if (refuse) {
      problem = "it is not to be opened";
      return nullptr;
    }
    require(made >= 1);
    made = std::min(made, slots);
    auto fresh = std::make_unique<FakeDevice>(slots, choices, buckets);
    for (int i = 0; i < slots; i++) fresh->own(i, false);
    device = fresh.get();
    if (failing-- > 0) fresh->fail(1 + choices.next() % 6);
    return fresh;
  };
  Worker worker(open, buckets, kMaxRows, [&] { bell.ring(); });
  bell.wait();
  std::string problem;
  const bool open_ = worker.state(problem) == Worker::State::kOpen;
  require(open_ == (!refuse && left > 0) && open_ == problem.empty() && worker.slots() == (open_ ? left : 0));
  if (!open_) {
    require(worker.take() < 0);
    return;
  }
  for (int i = 0; i < left; i++) device->own(i, true);
  std::map<int, Batch> batches;
  uint64_t taken = 0;
  uint64_t read = 0;
  const auto readAll = [&] {
    for (const auto& [slot, outcome] : worker.answered()) {
      require(worker.isAnswered(slot) && batches[slot].number == read++);
      check(*device, slot, batches[slot], outcome, worker.lost());
      worker.release(slot);
    }
  };
  for (int i = 0; i < 40; i++) {
    const int slot = worker.take();
    if (slot < 0 && read == taken) {
      // Lost, and nothing is under way.
      require(worker.lost());
      break;
    }
    if (slot < 0) {
      bell.wait();
      readAll();
      continue;
    }
    Batch& batch = batches[slot];
    batch.rows = 1 + own.next() % kMaxRows;
    fill(*device, slot, batch, taken++, worker.padded(batch.rows), own);
    worker.submit(slot, batch.rows);
    const uint8_t choice = own.next();
    if (choice > 250) device->fail(choice % 16);
    if (choice == 250) device->lose();
    if (choice % 4 == 0) readAll();
  }
  if (own.next() % 2 == 0) {
    while (read < taken) {
      bell.wait();
      readAll();
    }
  }
  worker.close();
  require(worker.take() < 0);
}

/** A run that does not end holds up no upload. */
void overlap() {
  const uint8_t none[1] = {};
  Choices choices{none, none, 0};
  std::vector<uint8_t> still(4096, 0);
  choices.at = still.data();
  choices.end = still.data() + still.size();
  FakeDevice device(2, choices, {});
  Pipeline pipeline(2);
  for (int slot = 0; slot < 2; slot++) {
    Batch batch;
    batch.rows = 1;
    require(pipeline.take() == slot);
    fill(device, slot, batch, 0, 1, choices);
    pipeline.uploaded(slot, 1, queueUpload(device, slot, 1));
    if (slot == 0) {
      require(pipeline.nextRun() == 0);
      pipeline.issued(0, queueRun(device, 0, 1, 0));
    }
    device.finishCopies(slot);
    // The upload is done and its event has come; what is left waits for the run, which was not begun.
    require(device.queued(slot) == (slot == 0 ? 3u : 0u));
    require(device.queued(device.compute()) == 3);
  }
  require(pipeline.take() < 0);
}

void limits(uint32_t wanted, size_t bytes, size_t limit) {
  const int slots = slotsWithin(static_cast<int>(wanted), bytes, limit);
  require(slots >= 0 && slots <= static_cast<int>(wanted));
  if (limit == 0 || bytes == 0) require(slots == static_cast<int>(wanted));
  else require(slots * bytes <= limit && (slots == static_cast<int>(wanted) || (slots + 1) * bytes > limit));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const bool once = (overlap(), true);
  require(once);
  if (size < 3) return 0;
  const int slots = 1 + bytes[0] % 3;
  const std::vector<size_t> buckets = bucketsBy(bytes[1]);
  limits(bytes[0] % 4u, bytes[1], bytes[2] * 3u);
  Choices choices{bytes + 3, bytes + size};
  if (bytes[2] % 8 == 0) threads(slots, choices, buckets);
  else everyOrder(slots, choices, buckets);
  return 0;
}
