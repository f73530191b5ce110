// What the stager needs of a device: streams, events and one model that runs on it. CUDA in stage_cuda.cc; tests put a
// device of their own in place, with the worst timing they can think of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace switchyard::stage {

/** How a call to the device went. `lost`: the device answers nothing any more, and touches no memory either. */
struct Outcome {
  bool ok = true;
  bool lost = false;
  std::string message;
};

/** Recorded once per batch and slot. */
enum class Event {
  /** On the slot's stream, behind the copy to the device. */
  kUploaded,
  /** On the model's compute stream, behind the run. */
  kRan,
  /** On the slot's stream, behind the copy from the device: from here on the slot's memory is its owner's again. */
  kDownloaded,
};

/**
 * A model on one device, with `slots` sets of pinned host memory and device memory. Each slot has a stream for its copies;
 * all runs share the compute stream. Calls only queue work, but for sync and drain; different slots may be called from
 * different threads at once.
 */
class Device {
 public:
  virtual ~Device() = default;
  /** Pinned memory of the slot, for the largest batch. */
  virtual uint8_t* input(int slot, size_t index) = 0;
  virtual const uint8_t* output(int slot, size_t index) = 0;
  /** Queues the copy of the first `rows` rows of the slot's inputs. */
  virtual Outcome copyIn(int slot, size_t rows) = 0;
  /** Queues the run. `graph` > 0: as that graph, captured at its first launch, when nothing else may be queued. */
  virtual Outcome launch(int slot, size_t rows, int graph) = 0;
  virtual Outcome copyOut(int slot, size_t rows) = 0;
  virtual Outcome record(Event event, int slot) = 0;
  /** kUploaded: the compute stream waits for it; kRan: the slot's stream does. */
  virtual Outcome wait(Event event, int slot) = 0;
  /** This thread waits for the slot's kDownloaded. */
  virtual Outcome sync(int slot) = 0;
  /** This thread waits for all that was queued to the slot's stream and to the compute stream. */
  virtual Outcome drain(int slot) = 0;
};

}  // namespace switchyard::stage
