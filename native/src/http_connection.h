// One HTTP/1.1 connection without its socket. It has one request at a time; what the client sends ahead waits unread.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "http_head.h"
#include "socket_server.h"

namespace switchyard::http {

struct HttpLimits {
  size_t maxBody = 64 << 20;
  /** Bytes of large bodies over all connections. */
  size_t maxHeld = size_t{512} << 20;
  uint64_t headerMs = 10000;
  uint64_t keepAliveMs = 60000;
  /** A body that arrives slower is cut, and a client that takes its answer slower; 0: none is. */
  double bytesPerSecond = 1024;
};

/** What JavaScript is to hear, in order. */
enum class Notice : uint8_t { kRequest, kBody, kGone, kFlushed };

struct Queued {
  Notice notice;
  uint32_t slot;
  uint32_t generation;
};

class HttpConnection;

/** All that connections share: each has a slot, and each of its requests a generation. */
class Exchanges {
 public:
  uint32_t open(HttpConnection* connection);
  void close(uint32_t slot);
  uint32_t renew(uint32_t slot) { return generations_[slot] = (generations_[slot] + 1) & 0x3fffffff; }
  /** The connection whose request it still is. */
  HttpConnection* find(uint32_t slot, uint32_t generation);
  void queue(Notice notice, uint32_t slot, uint32_t generation) { queued.push_back({notice, slot, generation}); }

  std::vector<Queued> queued;
  HttpLimits limits;
  /** Bytes of large bodies that came and whose requests are not answered. */
  size_t held = 0;
  AskedNames asked;
  /** "Date: …", as of this second. */
  std::string date;

 private:
  std::vector<HttpConnection*> connections_;
  std::vector<uint32_t> generations_;
  std::vector<uint32_t> free_;
};

/** A body too large to wait in the input: its bytes, which become JavaScript's. */
struct LargeBody {
  uint8_t* bytes = nullptr;
  size_t room = 0;
  size_t length = 0;
};

class HttpConnection final : public net::Connection {
 public:
  HttpConnection(Exchanges& exchanges, uint64_t now);
  ~HttpConnection() override;
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  bool receive(const uint8_t* bytes, size_t length, uint64_t now) override;
  bool produce(size_t limit) override;
  bool over() const override;
  bool wantsWrite() const override { return unsent() > 0 || stage_ == Stage::kDone; }
  bool wantsRead() const override;
  void flushed() override;
  bool lingers() const override { return !broken_; }
  void abandon() override;
  bool sweep(uint64_t now, uint64_t sent) override;
  void expel() override { broken_ = true; }
  void charge(size_t bytes) override;

  // The request that is told.
  const Head& head() const { return head_; }
  const char* headText() const { return input_.data() + headAt_; }
  size_t headLength() const { return headLength_; }
  bool bodyComplete() const { return bodyLeft_ == 0; }
  /** The request is there and not answered. */
  bool expects() const { return stage_ == Stage::kRequest && !answered_; }
  /** JavaScript hears of the request now. */
  void told() { told_ = true; }
  /** Of a complete body: what waits in the input. */
  const uint8_t* body() const { return reinterpret_cast<const uint8_t*>(headText()) + headLength_; }
  size_t bodyLength() const { return head_.contentLength > 0 ? static_cast<size_t>(head_.contentLength) : 0; }
  bool bodyIsLarge() const { return large_.bytes != nullptr; }
  LargeBody takeLarge();

  /**
   * The whole answer. `head`: status line and headers without "HTTP/1.1 ", both taken before it returns.
   * @param tracked JavaScript hears when it has left, or that the client left before.
   */
  void answer(const char* head, size_t headLength, const uint8_t* body, size_t length, bool close, bool tracked);
  void startStream(const char* head, size_t headLength, bool close);
  /** How many bytes have not left. Beyond some, `kFlushed` follows. */
  size_t write(const uint8_t* bytes, size_t length);
  void endStream();
  /** Cuts the connection without a word. */
  void destroy();

 private:
  enum class Stage : uint8_t {
    kHead,     // waits for a request
    kRequest,  // has one
    kDone,     // the last answer is given
  };

  void advance();
  bool beginRequest();
  void fill(const uint8_t*& bytes, size_t& length);
  bool hold(size_t bytes);
  void letGo();
  void overloaded();
  void watchAnew(uint64_t sent);
  bool tooSlow(uint64_t bytes, uint64_t since) const;
  void bodyEnded();
  void settle();
  void refuse(int status, const std::string& message);
  void beginHead(const char* head, size_t headLength, bool close);
  size_t unsent() const { return pending_.size() - pendingAt_ + output.size() - outputAt; }

  Exchanges& exchanges_;
  const uint32_t slot_;
  uint32_t generation_ = 0;
  Stage stage_ = Stage::kHead;

  std::string input_;
  /** Where the request's head begins, and up to where its end was looked for in vain. */
  size_t headAt_ = 0;
  size_t searched_ = 0;
  size_t headLength_ = 0;
  /** Bytes of the body that are in the input, behind the head. */
  size_t inputBody_ = 0;
  Head head_;
  LargeBody large_;
  /** What this request adds to `Exchanges::held`. */
  size_t held_ = 0;
  size_t bodyLeft_ = 0;

  std::string pending_;
  size_t pendingAt_ = 0;
  bool told_ = false;
  bool answered_ = false;
  bool tracked_ = false;
  bool streaming_ = false;
  bool wantsFlush_ = false;
  bool closes_ = false;

  /** Since the connection is in its stage; of a head that arrives, since its first byte. */
  uint64_t since_;
  /** No request has come yet. */
  bool fresh_ = true;
  size_t strayed_ = 0;
  /** Since the last request ended. Empty lines, which are forgiven, do not make it later. */
  uint64_t idleSince_;
  uint64_t now_;
  /** Something was made ready that is not known to have left. Under TLS its bytes are the session's by then. */
  bool sending_ = false;
  /** The next request waits for answers to leave. */
  bool lagging_ = false;
  uint64_t seenSent_ = 0;
  int stalledSweeps_ = 0;
  /** Since when what waits to be taken by the client is watched, and what had been sent by then. 0: nothing waits. */
  uint64_t laggingSince_ = 0;
  uint64_t laggingSent_ = 0;
  /** The same of a body that arrives: since when, and what of it was missing by then. */
  uint64_t arrivingSince_ = 0;
  size_t arrivingLeft_ = 0;
  uint64_t sweptAt_;
};

}  // namespace switchyard::http
