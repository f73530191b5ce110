#include "http_connection.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

namespace switchyard::http {
namespace {

constexpr size_t kMaxHeadBytes = 16 * 1024;
/** Larger bodies do not wait in the input. */
constexpr size_t kInlineBody = 16 * 1024;
/** A declared length alone costs a client's word, not our memory: beyond it, the buffer grows as bytes arrive. */
constexpr size_t kFirstBuffer = 1 << 20;
/** So much that the client sent ahead of its turn is kept; more waits in the socket. */
constexpr size_t kMaxAhead = 64 * 1024;
/** With more unsent bytes, a stream's writer is told when they have left, and no further request is read. */
constexpr size_t kLag = 64 * 1024;
/** Buffers up to this size are kept for the next request. */
constexpr size_t kKept = 32 * 1024;
/** So long are bytes counted before they are too few, and then anew: what came quickly excuses nothing later. */
constexpr uint64_t kWatchedMs = 10000;
/** Between sweeps, of which there is one a second: after more, it was this machine that stood still. */
constexpr uint64_t kStoodStillMs = 5000;
/** A client that takes nothing of its answer for so many seconds is cut. */
constexpr int kStalledSweeps = 10;
/** What a client may send between two sweeps in messages of TLS itself, as the socket's server counts them. */
constexpr size_t kMaxStray = 1 << 20;

void appendNumber(std::string& out, size_t value) {
  char digits[20];
  int count = 0;
  do digits[count++] = static_cast<char>('0' + value % 10);
  while ((value /= 10) > 0);
  while (count > 0) out.push_back(digits[--count]);
}

const char* reasonOf(int status) {
  switch (status) {
    case 408: return "Request Timeout";
    case 411: return "Length Required";
    case 413: return "Payload Too Large";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    default: return "Bad Request";
  }
}

}  // namespace

uint32_t Exchanges::open(HttpConnection* connection) {
  uint32_t slot;
  if (free_.empty()) {
    slot = static_cast<uint32_t>(connections_.size());
    connections_.push_back(nullptr);
    generations_.push_back(0);
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  connections_[slot] = connection;
  return slot;
}

void Exchanges::close(uint32_t slot) {
  connections_[slot] = nullptr;
  renew(slot);
  free_.push_back(slot);
}

HttpConnection* Exchanges::find(uint32_t slot, uint32_t generation) {
  if (slot >= connections_.size() || generations_[slot] != generation) return nullptr;
  return connections_[slot];
}

HttpConnection::HttpConnection(Exchanges& exchanges, uint64_t now)
    : exchanges_(exchanges), slot_(exchanges.open(this)), since_(now), idleSince_(now), now_(now), sweptAt_(now) {
  generation_ = exchanges_.renew(slot_);
}

HttpConnection::~HttpConnection() {
  abandon();
  exchanges_.close(slot_);
}

void HttpConnection::abandon() {
  if (stage_ == Stage::kRequest && told_ && (!answered_ || tracked_)) exchanges_.queue(Notice::kGone, slot_, generation_);
  exchanges_.renew(slot_);
  letGo();
  stage_ = Stage::kDone;
  broken_ = true;
}

bool HttpConnection::receive(const uint8_t* bytes, size_t length, uint64_t now) {
  now_ = now;
  if (broken_) return false;
  // Sent behind the last request: framed by nobody we trust.
  if (stage_ == Stage::kDone) return true;
  if (stage_ == Stage::kRequest && bodyLeft_ > 0) fill(bytes, length);
  if (length > 0 && stage_ != Stage::kDone) {
    if (stage_ == Stage::kHead && input_.empty()) since_ = now;
    input_.append(reinterpret_cast<const char*>(bytes), length);
    if (stage_ == Stage::kHead) advance();
  }
  return true;
}

/** Takes what belongs to the body under way. */
void HttpConnection::fill(const uint8_t*& bytes, size_t& length) {
  const size_t taken = std::min(length, bodyLeft_);
  if (answered_) {
    // Of no interest any more.
  } else if (large_.bytes != nullptr) {
    if (!hold(taken)) {
      overloaded();
      return;
    }
    const size_t needed = large_.length + taken;
    if (needed > large_.room) {
      const size_t room = std::min(static_cast<size_t>(head_.contentLength), needed * 4);
      auto* grown = static_cast<uint8_t*>(std::realloc(large_.bytes, room));
      if (grown == nullptr) {
        if (told_) exchanges_.queue(Notice::kGone, slot_, generation_);
        destroy();
        return;
      }
      large_.bytes = grown;
      large_.room = room;
    }
    std::memcpy(large_.bytes + large_.length, bytes, taken);
    large_.length = needed;
  } else {
    input_.append(reinterpret_cast<const char*>(bytes), taken);
    inputBody_ += taken;
  }
  bodyLeft_ -= taken;
  bytes += taken;
  length -= taken;
  if (bodyLeft_ == 0) bodyEnded();
}

/** Counts bytes of a large body. False: with them all connections hold too many. */
bool HttpConnection::hold(size_t bytes) {
  held_ += bytes;
  exchanges_.held += bytes;
  return exchanges_.held <= exchanges_.limits.maxHeld;
}

/** The body is of no interest any more: the request is answered or given up. */
void HttpConnection::letGo() {
  std::free(large_.bytes);
  large_ = LargeBody();
  exchanges_.held -= held_;
  held_ = 0;
}

void HttpConnection::overloaded() {
  if (told_) exchanges_.queue(Notice::kGone, slot_, generation_);
  if (streaming_) destroy();
  else refuse(429, "too many large requests are under way at once; retry later");
}

void HttpConnection::bodyEnded() {
  if (answered_) settle();
  else if (told_) exchanges_.queue(Notice::kBody, slot_, generation_);
}

/** Looks for the next request in the input. */
void HttpConnection::advance() {
  while (stage_ == Stage::kHead && unsent() <= kLag) {
    // An empty line before a request is forgiven (RFC 9112).
    while (input_.size() - headAt_ >= 2 && input_.compare(headAt_, 2, "\r\n") == 0) headAt_ += 2;
    if (headAt_ == input_.size()) {
      input_.clear();
      headAt_ = searched_ = 0;
      since_ = idleSince_;
      return;
    }
    if (!beginRequest()) return;
  }
  lagging_ = stage_ == Stage::kHead;
}

/** False: the head is not whole, or was refused. */
bool HttpConnection::beginRequest() {
  const size_t from = std::max(headAt_, searched_ < 3 ? 0 : searched_ - 3);
  const size_t found = input_.find("\r\n\r\n", from);
  if (found == std::string::npos) {
    searched_ = input_.size();
    if (input_.size() - headAt_ > kMaxHeadBytes) {
      refuse(431, "request headers exceed " + std::to_string(kMaxHeadBytes) + " bytes");
    } else if (input_[headAt_] != '\r' && !mayBecomeHead(headText(), input_.size() - headAt_)) {
      refuse(400, "malformed HTTP request");
    }
    return false;
  }
  headLength_ = found + 4 - headAt_;
  if (headLength_ > kMaxHeadBytes) {
    refuse(431, "request headers exceed " + std::to_string(kMaxHeadBytes) + " bytes");
    return false;
  }
  head_ = Head();
  Refusal refusal = readHead(headText(), headLength_, exchanges_.asked, head_);
  if (refusal.status != 0) {
    refuse(refusal.status, refusal.message);
    return false;
  }
  const size_t length = bodyLength();
  if (length > exchanges_.limits.maxBody) {
    refuse(413, "request body is " + std::to_string(length) + " bytes; this server takes at most " +
                    std::to_string(exchanges_.limits.maxBody));
    return false;
  }
  stage_ = Stage::kRequest;
  fresh_ = false;
  generation_ = exchanges_.renew(slot_);
  since_ = arrivingSince_ = now_;
  arrivingLeft_ = length;
  told_ = answered_ = tracked_ = streaming_ = closes_ = false;
  const size_t here = std::min(length, input_.size() - headAt_ - headLength_);
  bodyLeft_ = length - here;
  if (length > kInlineBody) {
    large_.room = std::max(std::min(length, kFirstBuffer), here);
    large_.bytes = static_cast<uint8_t*>(std::malloc(large_.room));
    if (large_.bytes == nullptr) {
      destroy();
      return false;
    }
    if (!hold(here)) {
      overloaded();
      return false;
    }
    large_.length = here;
    std::memcpy(large_.bytes, body(), here);
    input_.erase(headAt_ + headLength_, here);
    inputBody_ = 0;
  } else {
    inputBody_ = here;
  }
  if (bodyLeft_ > 0 && head_.expectsContinue && !head_.http10) pending_ += "HTTP/1.1 100 Continue\r\n\r\n";
  exchanges_.queue(Notice::kRequest, slot_, generation_);
  return true;
}

LargeBody HttpConnection::takeLarge() {
  LargeBody taken = large_;
  large_ = LargeBody();
  return taken;
}

/** Goes on to the next request, where this one has come whole and is answered. */
void HttpConnection::settle() {
  if (stage_ != Stage::kRequest || !answered_) return;
  letGo();
  if (tracked_) return;
  if (closes_) {
    stage_ = Stage::kDone;
    input_.clear();
    return;
  }
  if (bodyLeft_ > 0) return;
  input_.erase(0, headAt_ + headLength_ + inputBody_);
  if (input_.empty() && input_.capacity() > kKept) std::string().swap(input_);
  headAt_ = searched_ = inputBody_ = 0;
  stage_ = Stage::kHead;
  since_ = idleSince_ = now_;
  advance();
}

/** Answers a request that no handler is to see, or whose handler is told that it is gone. */
void HttpConnection::refuse(int status, const std::string& message) {
  pending_ += "HTTP/1.1 ";
  appendNumber(pending_, static_cast<size_t>(status));
  pending_ += ' ';
  pending_ += reasonOf(status);
  if (status == 429) pending_ += "\r\nRetry-After: 1";
  pending_ += "\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ";
  // The message is ours and holds nothing that JSON would escape.
  appendNumber(pending_, message.size() + 12);
  pending_ += "\r\n\r\n{\"error\":\"";
  pending_ += message;
  pending_ += "\"}";
  letGo();
  stage_ = Stage::kDone;
  input_.clear();
}

// ---- Answers ----

void HttpConnection::beginHead(const char* head, size_t headLength, bool close) {
  closes_ = close || !head_.keepAlive;
  pending_ += "HTTP/1.1 ";
  pending_.append(head, headLength);
  pending_ += exchanges_.date;
  if (closes_) pending_ += "\r\nConnection: close";
  else if (head_.http10) pending_ += "\r\nConnection: keep-alive";
}

void HttpConnection::answer(const char* head, size_t headLength, const uint8_t* body, size_t length, bool close,
                            bool tracked) {
  if (stage_ != Stage::kRequest || answered_ || streaming_) return;
  beginHead(head, headLength, close);
  pending_ += "\r\nContent-Length: ";
  appendNumber(pending_, length);
  pending_ += "\r\n\r\n";
  if (!head_.headOnly) pending_.append(reinterpret_cast<const char*>(body), length);
  answered_ = true;
  tracked_ = tracked;
  settle();
}

void HttpConnection::startStream(const char* head, size_t headLength, bool close) {
  if (stage_ != Stage::kRequest || answered_ || streaming_) return;
  streaming_ = true;
  // Without chunks, the end of the connection is the end of the answer.
  beginHead(head, headLength, close || head_.http10);
  if (!head_.http10) pending_ += "\r\nTransfer-Encoding: chunked";
  pending_ += "\r\n\r\n";
}

size_t HttpConnection::write(const uint8_t* bytes, size_t length) {
  if (!streaming_ || answered_ || length == 0) return 0;
  if (!head_.headOnly) {
    if (!head_.http10) {
      char size[20];
      pending_.append(size, static_cast<size_t>(std::snprintf(size, sizeof size, "%zx\r\n", length)));
    }
    pending_.append(reinterpret_cast<const char*>(bytes), length);
    if (!head_.http10) pending_ += "\r\n";
  }
  if (unsent() > kLag) wantsFlush_ = true;
  return wantsFlush_ ? unsent() : 0;
}

void HttpConnection::endStream() {
  if (!streaming_ || answered_) return;
  if (!head_.headOnly && !head_.http10) pending_ += "0\r\n\r\n";
  answered_ = tracked_ = true;
  settle();
}

void HttpConnection::destroy() {
  told_ = false;
  letGo();
  pending_.clear();
  pendingAt_ = 0;
  output.clear();
  outputAt = 0;
  stage_ = Stage::kDone;
  broken_ = true;
}

bool HttpConnection::produce(size_t limit) {
  const size_t left = pending_.size() - pendingAt_;
  if (left == 0) return false;
  sending_ = true;
  if (output.empty() && pendingAt_ == 0 && left <= limit) {
    output.swap(pending_);
    return false;
  }
  const size_t held = output.size() - outputAt;
  const size_t taken = std::min(left, limit > held ? limit - held : 0);
  output.append(pending_, pendingAt_, taken);
  pendingAt_ += taken;
  if (pendingAt_ < pending_.size()) return true;
  std::string().swap(pending_);
  pendingAt_ = 0;
  return false;
}

bool HttpConnection::over() const { return broken_ || (stage_ == Stage::kDone && unsent() == 0); }

void HttpConnection::flushed() {
  if (unsent() > 0) return;
  sending_ = false;
  stalledSweeps_ = 0;
  laggingSince_ = 0;
  if (tracked_) {
    tracked_ = false;
    exchanges_.queue(Notice::kFlushed, slot_, generation_);
    told_ = false;
    settle();
  } else if (wantsFlush_) {
    exchanges_.queue(Notice::kFlushed, slot_, generation_);
  }
  wantsFlush_ = false;
  if (lagging_) {
    lagging_ = false;
    since_ = idleSince_ = now_;
    advance();
  }
}

void HttpConnection::charge(size_t bytes) {
  strayed_ += bytes;
  if (strayed_ > kMaxStray) broken_ = true;
}

// ---- Time ----

bool HttpConnection::sweep(uint64_t now, uint64_t sent) {
  now_ = now;
  strayed_ = 0;
  if (now - sweptAt_ >= kStoodStillMs) watchAnew(sent);
  sweptAt_ = now;
  // Also of one that is broken: it ends when what is on its way has been taken, which this client may never do.
  if (unsent() > 0 || sending_) {
    if (laggingSince_ == 0) {
      laggingSince_ = now;
      laggingSent_ = sent;
    }
    stalledSweeps_ = sent == seenSent_ ? stalledSweeps_ + 1 : 0;
    if (stalledSweeps_ >= kStalledSweeps || tooSlow(sent - laggingSent_, laggingSince_)) return false;
    if (now - laggingSince_ >= kWatchedMs) {
      laggingSince_ = now;
      laggingSent_ = sent;
    }
  } else {
    stalledSweeps_ = 0;
  }
  seenSent_ = sent;
  if (broken_) return true;
  const uint64_t waited = now - since_;
  const HttpLimits& limits = exchanges_.limits;
  if (stage_ == Stage::kHead) {
    if (!input_.empty()) {
      if (waited >= limits.headerMs && !lagging_) refuse(408, "the request head took too long");
    } else if (waited >= (fresh_ ? limits.headerMs : limits.keepAliveMs)) {
      stage_ = Stage::kDone;
    }
  } else if (stage_ == Stage::kRequest && bodyLeft_ > 0) {
    if (tooSlow(arrivingLeft_ - bodyLeft_, arrivingSince_)) {
      if (answered_ || streaming_) return false;
      if (told_) exchanges_.queue(Notice::kGone, slot_, generation_);
      refuse(408, "the body arrives slower than " + std::to_string(static_cast<int64_t>(limits.bytesPerSecond)) +
                      " bytes per second");
    } else if (now - arrivingSince_ >= kWatchedMs) {
      arrivingSince_ = now;
      arrivingLeft_ = bodyLeft_;
    }
  }
  return true;
}

/** What the client sent meanwhile has not been read, nor was anything offered to it. */
void HttpConnection::watchAnew(uint64_t sent) {
  if (laggingSince_ != 0) laggingSince_ = now_;
  laggingSent_ = sent;
  arrivingSince_ = now_;
  arrivingLeft_ = bodyLeft_;
}

/** Whether so many bytes are too few for the time. */
bool HttpConnection::tooSlow(uint64_t bytes, uint64_t since) const {
  const uint64_t waited = now_ - since;
  return waited >= kWatchedMs &&
         static_cast<double>(bytes) < exchanges_.limits.bytesPerSecond * static_cast<double>(waited) / 1000;
}

bool HttpConnection::wantsRead() const {
  if (stage_ == Stage::kDone) return true;
  return bodyLeft_ > 0 || input_.size() <= kMaxAhead + kMaxHeadBytes + kInlineBody;
}

}  // namespace switchyard::http
