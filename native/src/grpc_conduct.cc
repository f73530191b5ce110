#include "grpc_conduct.h"

#include <algorithm>

namespace switchyard::grpc {
namespace {

constexpr int kMaxInvalidFrames = 100;

/** Calls a client may drop unanswered in one burst, and how many per second it earns back. */
constexpr double kResetBurst = 500;
constexpr double kResetsPerMs = 0.1;
/** Bytes of frames other than DATA in one sweep, and what each new call adds to that. */
constexpr uint64_t kFreeControlBytes = 1 << 20;
constexpr uint64_t kControlBytesPerCall = 32768;
/**
 * In sweeps, of which there is one a second, rather than in time: on a machine that stood still for a while, what the client
 * sent meanwhile has not been read yet, and between two sweeps it is.
 */
constexpr int kSettingsDeadline = 10;
constexpr int kPingAfter = 120;
constexpr int kPingDeadline = 140;

}  // namespace

Conduct::Conduct(uint64_t now) : resetTokens_(kResetBurst), refilledAt_(now) {}

bool Conduct::mayReset(uint64_t now) {
  resetTokens_ = std::min(kResetBurst, resetTokens_ + static_cast<double>(now - refilledAt_) * kResetsPerMs);
  refilledAt_ = now;
  resetTokens_ -= 1;
  return resetTokens_ >= 0;
}

bool Conduct::mayBeInvalid() { return ++invalidFrames_ <= kMaxInvalidFrames; }

Conduct::Verdict Conduct::sweep(uint64_t sent, uint64_t taken, int patience) {
  if (!settled_ && ++unsettledSweeps_ > kSettingsDeadline) return Verdict::kBad;
  const uint64_t control = received_ > dataBytes_ ? received_ - dataBytes_ : 0;
  // A frame's head takes 9 bytes and the smallest useful DATA frame a few: framing may double the payload. A client that
  // reads answers sends window updates in proportion to them.
  const uint64_t allowed = kFreeControlBytes + opened_ * kControlBytesPerCall + dataBytes_ * 2 + (sent - seenSent_);
  received_ = dataBytes_ = opened_ = 0;
  seenSent_ = sent;
  if (control > allowed) return Verdict::kBad;
  idleSweeps_ = patience > 0 && taken == seenTaken_ ? idleSweeps_ + 1 : 0;
  seenTaken_ = taken;
  if (patience > 0 && idleSweeps_ >= patience) return Verdict::kBad;
  if (++silentSweeps_ == kPingAfter) return Verdict::kPing;
  return silentSweeps_ <= kPingDeadline ? Verdict::kGood : Verdict::kBad;
}

}  // namespace switchyard::grpc
