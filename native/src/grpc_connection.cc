#include "grpc_connection.h"

#include <algorithm>
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
/** Frames that wait for a client that does not read. Calls have three each. */
constexpr size_t kMaxQueuedFrames = 10000;
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

constexpr uint8_t kDrainPing[8] = {'d', 'r', 'a', 'i', 'n', 'i', 'n', 'g'};
constexpr uint8_t kKeepAlive[8] = {};

const uint8_t* bytesOf(const char* text) { return reinterpret_cast<const uint8_t*>(text); }

NameValue pair(const char* name, size_t nameLength, const char* value, size_t valueLength) {
  return {bytesOf(name), bytesOf(value), nameLength, valueLength, kPlainHeader};
}

const NameValue kAnswerHeaders[] = {pair(":status", 7, "200", 3),
                                    pair("content-type", 12, "application/grpc+proto", 22)};
const NameValue kOkTrailers[] = {pair("grpc-status", 11, "0", 1)};

/** Cuts name NUL value NUL … into pairs that alias it. */
std::vector<NameValue> cut(const std::string& texts) {
  std::vector<NameValue> out;
  const char* at = texts.data();
  const char* const end = at + texts.size();
  while (at < end) {
    const size_t name = std::strlen(at);
    const char* value = at + name + 1;
    if (value >= end) break;
    const size_t length = std::strlen(value);
    out.push_back(pair(at, name, value, length));
    at = value + length + 1;
  }
  return out;
}

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

Connection& self(void* user) { return *static_cast<Connection*>(user); }

ssize_t readCall(Http2Session*, int32_t, uint8_t* out, size_t room, uint32_t* flags, DataSource* source, void* user) {
  return self(user).read(*static_cast<Call*>(source->pointer), out, room, flags);
}

}  // namespace

Http2Rules::Http2Rules() {
  if (host.nghttp2_session_callbacks_new(&callbacks) != 0 || host.nghttp2_option_new(&option) != 0) return;
  host.nghttp2_session_callbacks_set_on_begin_headers_callback(
      callbacks, [](Http2Session*, const Frame* frame, void* user) { return self(user).onBeginHeaders(*frame); });
  host.nghttp2_session_callbacks_set_on_header_callback(
      callbacks, [](Http2Session*, const Frame* frame, const uint8_t* name, size_t nameLength, const uint8_t* value,
                    size_t valueLength, uint8_t, void* user) {
        return self(user).onHeader(*frame, name, nameLength, value, valueLength);
      });
  host.nghttp2_session_callbacks_set_on_frame_recv_callback(
      callbacks, [](Http2Session*, const Frame* frame, void* user) { return self(user).onFrame(*frame); });
  host.nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
      callbacks, [](Http2Session*, const Frame*, int, void* user) { return self(user).onInvalidFrame(); });
  host.nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks, [](Http2Session*, uint8_t, int32_t stream, const uint8_t* bytes, size_t length, void* user) {
        return self(user).onData(stream, bytes, length);
      });
  host.nghttp2_session_callbacks_set_on_stream_close_callback(
      callbacks, [](Http2Session*, int32_t stream, uint32_t, void* user) { return self(user).onClose(stream); });
  // Windows are given back by what is read, not by what arrived.
  host.nghttp2_option_set_no_auto_window_update(option, 1);
  host.nghttp2_option_set_no_closed_streams(option, 1);
  host.nghttp2_option_set_max_settings(option, 32);
}

Http2Rules::~Http2Rules() {
  if (callbacks != nullptr) host.nghttp2_session_callbacks_del(callbacks);
  if (option != nullptr) host.nghttp2_option_del(option);
}

Connection::Connection(Calls& calls, const Http2Rules& rules, const ConnectionLimits& limits, uint64_t now)
    : calls_(calls),
      limits_(limits),
      now_(now),
      resetTokens_(kResetBurst),
      refilledAt_(now) {
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
  while (first_ != nullptr) {
    Call& call = *first_;
    if (call.stage == Stage::kTaken || call.stage == Stage::kOpen) calls_.queue(Notice::kClosed, call);
    unlink(call);
    calls_.close(&call);
  }
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
  silentSweeps_ = 0;
  received_ += length;
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
  opened_++;
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
      if ((frame.head.flags & kAck) == 0) settled_ = true;
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
  if (++invalidFrames_ > kMaxInvalidFrames) expel();
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
  dataBytes_ += length;
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
  unsent_ -= call->unsent;
  unlink(*call);
  host.nghttp2_session_set_stream_user_data(session_, stream, nullptr);
  calls_.close(call);
  if (unanswered && !allowReset()) expel();
  return 0;
}

bool Connection::allowReset() {
  resetTokens_ = std::min(kResetBurst, resetTokens_ + static_cast<double>(now_ - refilledAt_) * kResetsPerMs);
  refilledAt_ = now_;
  resetTokens_ -= 1;
  return resetTokens_ >= 0;
}

// ---- What the server answers ----

ssize_t Connection::read(Call& call, uint8_t* out, size_t room, uint32_t* flags) {
  size_t count = std::min(room, call.out.size() - call.outAt);
  if (count > 0) {
    std::memcpy(out, call.out.data() + call.outAt, count);
    call.outAt += count;
  }
  if (call.outAt == call.out.size()) {
    call.out.clear();
    call.outAt = 0;
    while (count < room && !call.borrowed.empty()) {
      Borrowed& bytes = call.borrowed.front();
      const size_t part = std::min(room - count, bytes.length);
      std::memcpy(out + count, bytes.at, part);
      count += part;
      bytes.at += part;
      bytes.length -= part;
      if (bytes.length > 0) break;
      calls_.release(calls_.releaseContext, bytes.owner);
      call.borrowed.pop_front();
    }
  }
  call.unsent -= count;
  unsent_ -= count;
  if (call.unsent > 0) return static_cast<ssize_t>(count);
  if (call.ending) {
    *flags |= call.bare ? kEof : kEof | kNoEndStream;
    settle(call);
    if (call.bare) return static_cast<ssize_t>(count);
    const std::vector<NameValue> trailers = cut(call.trailers);
    if (trailers.empty()) host.nghttp2_submit_trailer(session_, call.stream, kOkTrailers, 1);
    else host.nghttp2_submit_trailer(session_, call.stream, trailers.data(), trailers.size());
    return static_cast<ssize_t>(count);
  }
  if (call.wantsDrain) {
    call.wantsDrain = false;
    calls_.queue(Notice::kDrained, call);
  }
  if (count > 0) return static_cast<ssize_t>(count);
  call.deferred = true;
  return kDeferred;
}

/** The answer is complete: a client that still sends is asked to stop in a moment. */
void Connection::settle(Call& call) {
  call.complete = true;
  if (!call.ended) calls_.lingering.push_back({Notice::kEnd, call.slot, call.generation});
}

void Connection::answer(Call& call, const uint8_t* frame, size_t length) {
  if (call.stage == Stage::kAnswered) return;
  call.stage = Stage::kAnswered;
  call.out.append(reinterpret_cast<const char*>(frame), length);
  call.unsent += length;
  unsent_ += length;
  call.ending = true;
  if (call.headersSent) {
    resume(call);
    return;
  }
  call.headersSent = true;
  DataProvider provider{};
  provider.source.pointer = &call;
  provider.read = readCall;
  host.nghttp2_submit_response(session_, call.stream, kAnswerHeaders, 2, &provider);
}

void Connection::respond(Call& call, std::string&& headers, bool end) {
  if (call.headersSent) return;
  call.headersSent = true;
  const std::vector<NameValue> pairs = cut(headers);
  if (end) {
    call.stage = Stage::kAnswered;
    call.ending = true;
    settle(call);
    host.nghttp2_submit_response(session_, call.stream, pairs.data(), pairs.size(), nullptr);
    return;
  }
  DataProvider provider{};
  provider.source.pointer = &call;
  provider.read = readCall;
  host.nghttp2_submit_response(session_, call.stream, pairs.data(), pairs.size(), &provider);
}

void Connection::resume(Call& call) {
  if (!call.deferred) return;
  call.deferred = false;
  host.nghttp2_session_resume_data(session_, call.stream);
}

void Connection::write(Call& call, const uint8_t* bytes, size_t length) {
  if (call.ending) return;
  call.out.append(reinterpret_cast<const char*>(bytes), length);
  call.unsent += length;
  unsent_ += length;
  resume(call);
}

void Connection::lend(Call& call, const Borrowed& bytes) {
  call.borrowed.push_back(bytes);
  call.unsent += bytes.length;
  unsent_ += bytes.length;
  resume(call);
}

void Connection::finish(Call& call, std::string&& trailers, bool bare) {
  if (call.ending) return;
  call.stage = Stage::kAnswered;
  call.ending = true;
  call.trailers = std::move(trailers);
  call.bare = bare;
  resume(call);
}

void Connection::reset(Call& call, uint32_t code) {
  call.stage = Stage::kAnswered;
  host.nghttp2_submit_rst_stream(session_, 0, call.stream, code);
}

void Connection::consume(Call& call, size_t bytes) {
  host.nghttp2_session_consume_stream(session_, call.stream, bytes);
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
  if (!settled_ && ++unsettledSweeps_ > kSettingsDeadline) return false;
  const uint64_t control = received_ > dataBytes_ ? received_ - dataBytes_ : 0;
  // A frame's head takes 9 bytes and the smallest useful DATA frame a few: framing may double the payload. A client that
  // reads answers sends window updates in proportion to them.
  const uint64_t allowed = kFreeControlBytes + opened_ * kControlBytesPerCall + dataBytes_ * 2 + (sent - seenSent_);
  received_ = dataBytes_ = opened_ = 0;
  seenSent_ = sent;
  if (control > allowed) return false;
  if (++silentSweeps_ == kPingAfter) host.nghttp2_submit_ping(session_, 0, kKeepAlive);
  return silentSweeps_ <= kPingDeadline;
}

}  // namespace switchyard::grpc
