// Drives a device by the pipeline's word. Three threads meet here: the caller's (fills slots, queues uploads, reads
// answers), one that queues runs and downloads, and one that waits for their ends.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "stage_device.h"
#include "stage_pipeline.h"

namespace switchyard::stage {

/** Bytes of one or several whole rows. */
struct Piece {
  const uint8_t* data;
  size_t bytes;
};

/**
 * Puts the pieces behind one another into an input of a slot, and the last row again behind them until there are `whole`
 * rows: a value that the model is known to take. False, and nothing useful written: they are no rows at all, no whole ones, or
 * more than `rows`.
 */
bool fillRows(uint8_t* to, const std::vector<Piece>& pieces, size_t rows, size_t whole, size_t rowBytes);

/** Queues the upload of a slot that the caller has filled. Any thread that holds the slot. */
Outcome queueUpload(Device& device, int slot, size_t rows);
/** Queues the run and the download of a slot whose upload is queued. `graph`: 0, or the graph that it runs as. */
Outcome queueRun(Device& device, int slot, size_t rows, int graph);
/** Waits until the device is through with the slot; `failed`: not all of its events were recorded. */
Outcome awaitEnd(Device& device, int slot, bool failed);

/** The graph of a batch of `rows` rows in a slot, from 1 on: addresses are part of a graph. 0: none is kept for it. */
int graphOf(const std::vector<size_t>& buckets, int slot, size_t rows);

/**
 * Runs every slot and bucket once and waits for it, nothing else being queued: each graph is captured here, and only here.
 * Without buckets each slot runs with one row and with `most`, so that the largest batch has its memory.
 */
Outcome prepare(Device& device, int slots, const std::vector<size_t>& buckets, size_t most);

class Worker {
 public:
  /**
   * Makes the device with at most `slots` slots, and says how many there are; on the thread that will queue its runs: CUDA
   * graphs belong to the thread that captured them. Where the device's first runs fail it is made once more, with a slot
   * less: their memory may be what a run lacked.
   */
  using Open = std::function<std::unique_ptr<Device>(int& slots, std::string& problem)>;
  /** Called by the worker's threads: it is open (or has failed), or slots were answered. Never twice for the same change. */
  using Wake = std::function<void()>;

  /** `most`: rows of the largest batch. */
  Worker(Open open, std::vector<size_t> buckets, size_t most, Wake wake);
  /** Ends as close does, and waits. */
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  enum class State { kOpening, kOpen, kFailed };
  State state(std::string& problem);
  int slots();
  bool lost();

  /** As Pipeline::take; -1 also before it is open. */
  int take();
  Device& device() { return *device_; }
  /** The slot is filled: queues its upload and gives it to the worker. The smallest bucket that holds `rows`, if any, is run. */
  void submit(int slot, size_t rows);
  /** Slots answered since the last call, in order, each with its failure. The caller owns them until it releases them. */
  std::vector<std::pair<int, Outcome>> answered();
  /** Whether the device is through with the slot's batch, and its answer was not yet read. */
  bool isAnswered(int slot);
  void release(int slot);
  /** Rows that a batch of `rows` is run with. */
  size_t padded(size_t rows) const;
  /** Takes no more batches, ends those under way, gives the device's memory back. Waits for that. */
  void close();

 private:
  std::unique_ptr<Device> make(int& slots, std::string& problem);
  void issue();
  void await();

  const Open open_;
  const std::vector<size_t> buckets_;
  const size_t most_;
  const Wake wake_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Pipeline> pipeline_;
  State state_ = State::kOpening;
  std::string problem_;
  bool closing_ = false;
  /** The waiting thread may end: nothing is issued any more. */
  bool issued_ = false;
  std::vector<std::pair<int, Outcome>> answers_;
  bool woken_ = false;
  std::thread issuer_;
  std::thread awaiter_;
};

}  // namespace switchyard::stage
