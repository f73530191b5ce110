#include "grpc_connection.h"

#include <cstring>

namespace switchyard::grpc {
namespace {

constexpr uint32_t kStreamWindow = 1 << 20;
constexpr int32_t kConnectionWindow = 8 << 20;
constexpr uint32_t kFrameBytes = 16384;
constexpr uint32_t kHeaderListBytes = 16384;
constexpr int kHeaderCount = 128;
constexpr size_t kPrefix = 5;
/** A client that leaves so many bytes of answers unread gets no new calls. */
constexpr size_t kMaxUnsent = size_t{128} << 20;
/** For so many sweeps a client may take nothing of the answers that wait for it; and where all clients leave so much unread. */
constexpr int kPatience = 300;
constexpr int kCrowdedPatience = 10;
constexpr size_t kCrowdedUnsent = size_t{512} << 20;
/** Frames that wait for a client that does not read. Calls have three each. */
constexpr size_t kMaxQueuedFrames = 10000;

constexpr uint8_t kDrainPing[8] = {'d', 'r', 'a', 'i', 'n', 'i', 'n', 'g'};
constexpr uint8_t kKeepAlive[8] = {};

bool equals(const uint8_t* text, size_t length, const char* wanted) {
  return std::strlen(wanted) == length && std::memcmp(text, wanted, length) == 0;
}

/** 1 to 8 digits and a unit. */
bool parseTimeout(const uint8_t* text, size_t length, Call& call) {
  if (length < 2 || length > 9 || std::strchr("HMSmun", text[length - 1]) == nullptr) return false;
  int32_t digits = 0;
  for (size_t i = 0; i + 1 < length; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    digits = digits * 10 + (text[i] - '0');
  }
  call.timeoutDigits = digits;
  call.timeoutUnit = static_cast<char>(text[length - 1]);
  return true;
}

}  // namespace

Connection::Connection(Calls& calls, const Http2Rules& rules, const ConnectionLimits& limits, uint64_t now)
    : calls_(calls),
      limits_(limits),
      now_(now),
      conduct_(now) {
  if (host.nghttp2_session_server_new2(&session_, rules.callbacks, this, rules.option) != 0) {
    session_ = nullptr;
    broken_ = true;
    return;
  }
  const SettingsEntry settings[] = {{kMaxConcurrentStreams, limits.maxStreams},
                                    {kInitialWindowSize, kStreamWindow},
                                    {kMaxFrameSize, kFrameBytes},
                                    {kMaxHeaderListSize, kHeaderListBytes}};
  host.nghttp2_submit_settings(session_, 0, settings, sizeof settings / sizeof settings[0]);
  host.nghttp2_session_set_local_window_size(session_, 0, 0, kConnectionWindow);
}

Connection::~Connection() {
  abandon();
  if (session_ != nullptr) host.nghttp2_session_del(session_);
}

void Connection::abandon() {
  broken_ = true;
  owe(0 - unsent_);
  while (first_ != nullptr) {
    Call& call = *first_;
    if (call.stage == Stage::kTaken || call.stage == Stage::kOpen) calls_.queue(Notice::kClosed, call);
    unlink(call);
    calls_.close(&call);
  }
}

/** Counts bytes of answers that wait, here and over all connections; what is taken off comes as its two's complement. */
void Connection::owe(size_t bytes) {
  unsent_ += bytes;
  calls_.unsent += bytes;
}

void Connection::link(Call& call) {
  call.previous = nullptr;
  call.next = first_;
  if (first_ != nullptr) first_->previous = &call;
  first_ = &call;
  openCalls++;
}

void Connection::unlink(Call& call) {
  if (call.previous != nullptr) call.previous->next = call.next;
  else first_ = call.next;
  if (call.next != nullptr) call.next->previous = call.previous;
  openCalls--;
}

Call* Connection::callOf(int32_t stream) const {
  return static_cast<Call*>(host.nghttp2_session_get_stream_user_data(session_, stream));
}

bool Connection::receive(const uint8_t* bytes, size_t length, uint64_t now) {
  now_ = now;
  conduct_.heard(length);
  if (broken_) return false;
  const ssize_t taken = host.nghttp2_session_mem_recv(session_, bytes, length);
  if (taken < 0 || host.nghttp2_session_get_outbound_queue_size(session_) > kMaxQueuedFrames) broken_ = true;
  return !broken_;
}

bool Connection::produce(size_t limit) {
  if (session_ == nullptr) return false;
  while (output.size() - outputAt < limit) {
    const uint8_t* bytes;
    const ssize_t length = host.nghttp2_session_mem_send(session_, &bytes);
    if (length < 0) broken_ = true;
    if (length <= 0) return false;
    output.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
  }
  return true;
}

bool Connection::wantsWrite() const { return !broken_ && host.nghttp2_session_want_write(session_) != 0; }

bool Connection::over() const {
  if (output.size() > outputAt) return false;
  if (broken_) return true;
  return host.nghttp2_session_want_read(session_) == 0 && host.nghttp2_session_want_write(session_) == 0;
}

// ---- What the client does ----

int Connection::onBeginHeaders(const Frame& frame) {
  if (frame.head.type != kHeadersFrame || frame.category != kRequestHeaders) return 0;
  if (unsent_ > kMaxUnsent) {
    host.nghttp2_submit_rst_stream(session_, 0, frame.head.stream, kRefusedStream);
    return 0;
  }
  Call* call = calls_.open(this, frame.head.stream);
  call->openedAt = now_;
  link(*call);
  host.nghttp2_session_set_stream_user_data(session_, frame.head.stream, call);
  conduct_.opened();
  return 0;
}

int Connection::onHeader(const Frame& frame, const uint8_t* name, size_t nameLength, const uint8_t* value,
                         size_t valueLength) {
  if (frame.head.type != kHeadersFrame || frame.category != kRequestHeaders) return 0;
  Call* call = callOf(frame.head.stream);
  if (call == nullptr) return 0;
  if (++call->headerCount > kHeaderCount || call->headers.size() + nameLength + valueLength > kHeaderListBytes) {
    return kTemporalFailure;
  }
  call->headers.append(reinterpret_cast<const char*>(name), nameLength);
  call->headers.push_back('\0');
  call->headers.append(reinterpret_cast<const char*>(value), valueLength);
  call->headers.push_back('\0');
  if (equals(name, nameLength, ":method")) {
    call->post = equals(value, valueLength, "POST");
  } else if (equals(name, nameLength, "content-type")) {
    call->grpc = valueLength >= 16 && std::memcmp(value, "application/grpc", 16) == 0;
  } else if (equals(name, nameLength, ":path")) {
    const auto method = calls_.methods.find(std::string(reinterpret_cast<const char*>(value), valueLength));
    if (method != calls_.methods.end()) call->method = method->second;
  } else if (equals(name, nameLength, "grpc-timeout")) {
    if (!parseTimeout(value, valueLength, *call)) call->plain = false;
  } else if (equals(name, nameLength, "grpc-encoding")) {
    if (!equals(value, valueLength, "identity")) call->plain = false;
  } else if (equals(name, nameLength, "traceparent")) {
    call->traced = true;
  }
  return 0;
}

int Connection::onFrame(const Frame& frame) {
  switch (frame.head.type) {
    case kHeadersFrame: {
      Call* call = callOf(frame.head.stream);
      if (call == nullptr) return 0;
      const bool end = (frame.head.flags & kEndStream) != 0;
      if (frame.category == kRequestHeaders) headersComplete(*call, end);
      else if (end) requestEnded(*call);
      return 0;
    }
    case kDataFrame: {
      if ((frame.head.flags & kEndStream) == 0) return 0;
      Call* call = callOf(frame.head.stream);
      if (call != nullptr) requestEnded(*call);
      return 0;
    }
    case kSettingsFrame:
      if ((frame.head.flags & kAck) == 0) conduct_.settled();
      return 0;
    case kPingFrame:
      // The eight bytes follow the head.
      if ((frame.head.flags & kAck) != 0 && draining_ &&
          std::memcmp(reinterpret_cast<const uint8_t*>(&frame) + sizeof(FrameHead), kDrainPing, 8) == 0) {
        finishDrain();
      }
      return 0;
    default:
      return 0;
  }
}

int Connection::onInvalidFrame() {
  if (!conduct_.mayBeInvalid()) expel();
  return 0;
}

void Connection::headersComplete(Call& call, bool end) {
  call.ended = end;
  const bool collects = call.method.kind != MethodKind::kGeneral && call.post && call.grpc && call.plain && !end;
  if (collects) {
    calls_.fresh.push_back({Notice::kReady, call.slot, call.generation});
  } else {
    handOver(call);
  }
}

void Connection::requestEnded(Call& call) {
  if (call.ended) return;
  call.ended = true;
  if (call.stage == Stage::kCollecting) handOver(call);
  else if (call.stage == Stage::kOpen) calls_.queue(Notice::kEnd, call);
}

void Connection::handOver(Call& call) {
  call.stage = Stage::kOpen;
  calls_.queue(Notice::kOpen, call);
  if (!call.body.empty()) {
    call.dataQueued = true;
    calls_.queue(Notice::kData, call);
  }
  if (call.ended) calls_.queue(Notice::kEnd, call);
}

int Connection::onData(int32_t stream, const uint8_t* bytes, size_t length) {
  conduct_.data(length);
  Call* call = callOf(stream);
  if (call == nullptr || call->stage == Stage::kAnswered) {
    host.nghttp2_session_consume(session_, stream, length);
    return 0;
  }
  host.nghttp2_session_consume_connection(session_, length);
  switch (call->stage) {
    case Stage::kCollecting: {
      call->body.append(reinterpret_cast<const char*>(bytes), length);
      if (call->body.size() < kPrefix) return 0;
      const auto* prefix = reinterpret_cast<const uint8_t*>(call->body.data());
      const size_t declared = static_cast<size_t>(prefix[1]) << 24 | prefix[2] << 16 | prefix[3] << 8 | prefix[4];
      if (prefix[0] != 0 || declared > limits_.maxCollected || call->body.size() > declared + kPrefix) {
        handOver(*call);
      } else if (call->body.size() == declared + kPrefix) {
        host.nghttp2_session_consume_stream(session_, stream, call->body.size());
        call->stage = Stage::kTaken;
        calls_.queue(Notice::kReady, *call);
      }
      return 0;
    }
    case Stage::kTaken:
      host.nghttp2_session_consume_stream(session_, stream, length);
      if (!call->extraQueued) {
        call->extraQueued = true;
        calls_.queue(Notice::kExtra, *call);
      }
      return 0;
    default:
      call->body.append(reinterpret_cast<const char*>(bytes), length);
      if (!call->dataQueued) {
        call->dataQueued = true;
        calls_.queue(Notice::kData, *call);
      }
      return 0;
  }
}

int Connection::onClose(int32_t stream) {
  Call* call = callOf(stream);
  if (call == nullptr) return 0;
  const bool unanswered = call->stage != Stage::kAnswered;
  if (call->stage == Stage::kTaken || call->stage == Stage::kOpen) calls_.queue(Notice::kClosed, *call);
  owe(0 - call->unsent);
  unlink(*call);
  host.nghttp2_session_set_stream_user_data(session_, stream, nullptr);
  calls_.close(call);
  if (unanswered && !conduct_.mayReset(now_)) expel();
  return 0;
}

// ---- The connection's own life ----

void Connection::startDrain() {
  if (draining_ || broken_) return;
  draining_ = true;
  host.nghttp2_submit_shutdown_notice(session_);
  host.nghttp2_submit_ping(session_, 0, kDrainPing);
}

void Connection::finishDrain() {
  if (drainFinished_ || broken_) return;
  drainFinished_ = true;
  host.nghttp2_submit_goaway(session_, 0, host.nghttp2_session_get_last_proc_stream_id(session_), kNoError, nullptr, 0);
}

void Connection::terminate(uint32_t code) { host.nghttp2_session_terminate_session(session_, code); }

bool Connection::sweep(uint64_t now, uint64_t sent) {
  now_ = now;
  if (broken_) return true;
  const int patience = unsent_ == 0 ? 0 : calls_.unsent > kCrowdedUnsent ? kCrowdedPatience : kPatience;
  const Conduct::Verdict verdict = conduct_.sweep(sent, taken_, patience);
  if (verdict == Conduct::Verdict::kPing) host.nghttp2_submit_ping(session_, 0, kKeepAlive);
  return verdict != Conduct::Verdict::kBad;
}

}  // namespace switchyard::grpc
