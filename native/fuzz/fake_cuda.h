// A CUDA runtime of a few imaginary GPUs, for fuzzers. Streams keep what was queued and do it whenever the choices say so, as
// far as streams and events leave them one; memory is real memory, so that the address sanitizer sees what is touched after it
// was given back. Each call may fail, or lose its GPU. Checked: memory, streams and events belong to the GPU that they are used
// on, and nothing is allocated or freed while a graph is captured.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"
#include "cuda_api.h"

namespace fake {

using switchyard::stage::CudaApi;
using switchyard::stage::CudaEvent;
using switchyard::stage::CudaStatus;
using switchyard::stage::CudaStream;

constexpr int kDevices = 3;
constexpr CudaStatus kInvalidValue = 1;
constexpr CudaStatus kOutOfMemory = 2;
constexpr CudaStatus kIllegalAddress = 700;

struct Event {
  int device;
  uint64_t recorded = 0;
  uint64_t fired = 0;
};

/** Work in a stream; with an event: it waits until that has fired so often. */
struct Op {
  std::function<void()> work;
  const Event* event = nullptr;
  uint64_t turn = 0;
};

struct Stream {
  int device;
  std::deque<Op> ops;
};

struct Machine {
  /** Over all that is below, and all that the fake ONNX Runtime has. */
  std::mutex lock;
  /** Decisions, as the input's bytes give them; after its end they go on by arithmetic. */
  const uint8_t* at = nullptr;
  const uint8_t* end = nullptr;
  uint32_t state = 1;
  uint32_t failEvery = 0;
  uint32_t calls = 0;
  /** Failed calls lose their GPU now and then. */
  bool losing = false;
  bool lost[kDevices] = {};
  std::set<Stream*> streams;
  std::set<Event*> events;
  std::map<uint8_t*, size_t> host;
  /** Each with its GPU and bytes. */
  std::map<uint8_t*, std::pair<int, size_t>> memory;
  /** Threads inside a call that may allocate. */
  int users = 0;
  bool capturing = false;

  uint8_t next() {
    state = state * 1664525u + 1013904223u;
    return at < end ? *at++ : static_cast<uint8_t>(state >> 24);
  }

  void begin(const uint8_t* from, const uint8_t* to) {
    require(streams.empty() && events.empty() && host.empty() && memory.empty() && users == 0 && !capturing);
    at = from;
    end = to;
    state = 1;
    calls = 0;
    for (bool& each : lost) each = false;
  }

  void lose(int device) {
    lost[device] = true;
    for (Stream* const stream : streams) {
      if (stream->device == device) stream->ops.clear();
    }
  }

  bool fails() { return failEvery != 0 && ++calls % failEvery == 0; }

  /** What a call about this GPU answers. */
  CudaStatus status(int device, CudaStatus otherwise) {
    if (lost[device]) return kIllegalAddress;
    if (!fails()) return 0;
    if (!losing || next() % 4 != 0) return otherwise;
    lose(device);
    return kIllegalAddress;
  }

  /** Does one thing that some stream is about to do. False: none can do anything. */
  bool progress() {
    std::vector<Stream*> ready;
    for (Stream* const stream : streams) {
      if (stream->ops.empty()) continue;
      const Op& op = stream->ops.front();
      if (op.event == nullptr || op.event->fired >= op.turn) ready.push_back(stream);
    }
    if (ready.empty()) return false;
    Stream& stream = *ready[next() % ready.size()];
    const Op op = std::move(stream.ops.front());
    stream.ops.pop_front();
    if (op.work) op.work();
    return true;
  }

  void queue(Stream& stream, Op op) {
    stream.ops.push_back(std::move(op));
    // Some of it is done before the next call even comes.
    for (uint8_t n = next() % 4; n > 0 && progress(); n--) continue;
  }

  /** Whether so many bytes from there on are memory of this GPU. */
  bool isDevice(const void* from, size_t bytes, int device) const { return within(memory, from, bytes, device); }
  bool isHost(const void* from, size_t bytes) const {
    const auto found = host.find(static_cast<uint8_t*>(const_cast<void*>(from)));
    return found != host.end() && bytes <= found->second;
  }

 private:
  static bool within(const std::map<uint8_t*, std::pair<int, size_t>>& memory, const void* from, size_t bytes, int device) {
    const auto found = memory.find(static_cast<uint8_t*>(const_cast<void*>(from)));
    return found != memory.end() && found->second.first == device && bytes <= found->second.second;
  }
};

inline Machine& machine() {
  static Machine* const it = new Machine();
  return *it;
}

/** The GPU that this thread's next call is about. */
inline thread_local int current = 0;

using Guard = std::lock_guard<std::mutex>;

/** Somebody who may allocate, for as long as it is in its call. Never while a graph is captured. */
class Using {
 public:
  Using() {
    const Guard guard(machine().lock);
    require(!machine().capturing);
    machine().users++;
  }
  ~Using() {
    const Guard guard(machine().lock);
    machine().users--;
  }
};

inline CudaStatus setDevice(int device) {
  require(device >= 0 && device < kDevices);
  const Guard guard(machine().lock);
  current = device;
  return machine().status(device, kInvalidValue);
}

inline CudaStatus streamCreate(CudaStream* made, unsigned flags) {
  const Using inside;
  const Guard guard(machine().lock);
  require(flags == switchyard::stage::kStreamNonBlocking);
  const CudaStatus status = machine().status(current, kOutOfMemory);
  if (status != 0) return status;
  auto* const stream = new Stream{current, {}};
  machine().streams.insert(stream);
  *made = stream;
  return 0;
}

inline CudaStatus streamDestroy(CudaStream stream) {
  const Using inside;
  const Guard guard(machine().lock);
  auto* const it = static_cast<Stream*>(stream);
  require(machine().streams.erase(it) == 1 && it->ops.empty());
  delete it;
  return 0;
}

inline CudaStatus streamSynchronize(CudaStream stream) {
  auto* const it = static_cast<Stream*>(stream);
  for (;;) {
    const Guard guard(machine().lock);
    require(machine().streams.count(it) == 1);
    if (machine().lost[it->device]) return kIllegalAddress;
    if (it->ops.empty()) return 0;
    require(machine().progress());
  }
}

inline CudaStatus streamWaitEvent(CudaStream stream, CudaEvent event, unsigned) {
  const Guard guard(machine().lock);
  auto* const it = static_cast<Stream*>(stream);
  const auto* const on = static_cast<const Event*>(event);
  require(machine().streams.count(it) == 1);
  const CudaStatus status = machine().status(it->device, kInvalidValue);
  if (status == 0) machine().queue(*it, {nullptr, on, on->recorded});
  return status;
}

inline CudaStatus eventCreate(CudaEvent* made, unsigned) {
  const Using inside;
  const Guard guard(machine().lock);
  const CudaStatus status = machine().status(current, kOutOfMemory);
  if (status != 0) return status;
  auto* const event = new Event{current};
  machine().events.insert(event);
  *made = event;
  return 0;
}

inline CudaStatus eventDestroy(CudaEvent event) {
  const Using inside;
  const Guard guard(machine().lock);
  auto* const it = static_cast<Event*>(event);
  require(machine().events.erase(it) == 1);
  delete it;
  return 0;
}

inline CudaStatus eventRecord(CudaEvent event, CudaStream stream) {
  const Guard guard(machine().lock);
  auto* const it = static_cast<Event*>(event);
  auto* const on = static_cast<Stream*>(stream);
  require(machine().events.count(it) == 1 && machine().streams.count(on) == 1 && it->device == on->device);
  const CudaStatus status = machine().status(on->device, kInvalidValue);
  if (status != 0) return status;
  const uint64_t turn = ++it->recorded;
  machine().queue(*on, {[it, turn] { it->fired = turn; }});
  return 0;
}

inline CudaStatus eventSynchronize(CudaEvent event) {
  const auto* const it = static_cast<const Event*>(event);
  for (;;) {
    const Guard guard(machine().lock);
    if (machine().lost[it->device]) return kIllegalAddress;
    if (it->fired == it->recorded) return 0;
    require(machine().progress());
  }
}

inline CudaStatus hostAlloc(void** made, size_t bytes, unsigned flags) {
  const Using inside;
  const Guard guard(machine().lock);
  require(flags == switchyard::stage::kHostPortable && bytes > 0);
  const CudaStatus status = machine().status(current, kOutOfMemory);
  if (status != 0) return status;
  auto* const memory = static_cast<uint8_t*>(std::malloc(bytes));
  machine().host[memory] = bytes;
  *made = memory;
  return 0;
}

inline CudaStatus hostFree(void* memory) {
  const Using inside;
  const Guard guard(machine().lock);
  require(machine().host.erase(static_cast<uint8_t*>(memory)) == 1);
  std::free(memory);
  return 0;
}

inline CudaStatus copyAsync(void* to, const void* from, size_t bytes, int kind, CudaStream stream) {
  const Guard guard(machine().lock);
  auto* const it = static_cast<Stream*>(stream);
  require(machine().streams.count(it) == 1 && current == it->device);
  const bool in = kind == switchyard::stage::kHostToDevice;
  require(in || kind == switchyard::stage::kDeviceToHost);
  require(machine().isHost(in ? from : to, bytes) && machine().isDevice(in ? to : from, bytes, it->device));
  const CudaStatus status = machine().status(it->device, kInvalidValue);
  if (status != 0) return status;
  // In halves, so that work of another stream may come between.
  auto* const target = static_cast<uint8_t*>(to);
  const auto* const source = static_cast<const uint8_t*>(from);
  it->ops.push_back({[=] { std::memcpy(target, source, bytes / 2); }});
  machine().queue(*it, {[=] { std::memcpy(target + bytes / 2, source + bytes / 2, bytes - bytes / 2); }});
  return 0;
}

inline CudaApi cudaApi() {
  CudaApi api;
  api.setDevice = setDevice;
  api.getLastError = [] { return CudaStatus{0}; };
  api.errorString = [](CudaStatus status) { return status == kIllegalAddress ? "illegal address" : "it was to fail"; };
  api.streamCreate = streamCreate;
  api.streamDestroy = streamDestroy;
  api.streamSynchronize = streamSynchronize;
  api.streamWaitEvent = streamWaitEvent;
  api.eventCreate = eventCreate;
  api.eventDestroy = eventDestroy;
  api.eventRecord = eventRecord;
  api.eventSynchronize = eventSynchronize;
  api.hostAlloc = hostAlloc;
  api.hostFree = hostFree;
  api.copyAsync = copyAsync;
  return api;
}

}  // namespace fake
