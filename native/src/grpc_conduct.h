// What one client may do to a server besides having calls answered: how many calls it drops, how much of what it sends is no
// call's, how long it is silent. Plain state: no socket, and time only as it is told.
#pragma once

#include <cstddef>
#include <cstdint>

namespace switchyard::grpc {

class Conduct {
 public:
  explicit Conduct(uint64_t now);

  /** The client has sent so many bytes, of whatever kind. */
  void heard(size_t bytes) {
    silentSweeps_ = 0;
    received_ += bytes;
  }
  /** Bytes that did not come as frames: messages of TLS itself. */
  void charge(size_t bytes) { received_ += bytes; }
  /** So many of the bytes were a call's. */
  void data(size_t bytes) { dataBytes_ += bytes; }
  void opened() { opened_++; }
  void settled() { settled_ = true; }

  /** The client drops a call that was not answered. False: it has dropped too many. */
  bool mayReset(uint64_t now);
  /** False: there have been too many. */
  bool mayBeInvalid();

  enum class Verdict { kGood, kPing, kBad };
  /**
   * Looks at what has been since the last sweep; to be called once a second. `sent`: all bytes that went to the client, `taken`:
   * those of answers. `patience`: after how many sweeps without any of them it is bad; 0: no answer waits.
   */
  Verdict sweep(uint64_t sent, uint64_t taken, int patience);

 private:
  double resetTokens_;
  uint64_t refilledAt_;
  bool settled_ = false;
  int unsettledSweeps_ = 0;
  uint64_t received_ = 0;
  uint64_t dataBytes_ = 0;
  uint64_t opened_ = 0;
  uint64_t seenSent_ = 0;
  uint64_t seenTaken_ = 0;
  /** In which answers waited and none was taken. */
  int idleSweeps_ = 0;
  /** Since the client was heard last. */
  int silentSweeps_ = 0;
  int invalidFrames_ = 0;
};

}  // namespace switchyard::grpc
