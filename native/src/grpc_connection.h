// One HTTP/2 connection without its socket: bytes in, bytes out, calls between. nghttp2 keeps the protocol; this maps
// streams to calls and bounds what a client may do.
#pragma once

#include <string>

#include "grpc_calls.h"
#include "grpc_conduct.h"
#include "socket_server.h"

namespace switchyard::grpc {

struct ConnectionLimits {
  uint32_t maxStreams = 1024;
  /** Longer messages are handed to JavaScript piece by piece. */
  size_t maxCollected = 256 * 1024;
};

/** Sets of callbacks and options that all connections use; one for each thread. */
class Http2Rules {
 public:
  Http2Rules();
  ~Http2Rules();
  Http2Rules(const Http2Rules&) = delete;
  Http2Rules& operator=(const Http2Rules&) = delete;

  Http2Callbacks* callbacks = nullptr;
  Http2Option* option = nullptr;
};

class Connection final : public net::Connection {
 public:
  Connection(Calls& calls, const Http2Rules& rules, const ConnectionLimits& limits, uint64_t now);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool receive(const uint8_t* bytes, size_t length, uint64_t now) override;
  bool produce(size_t limit) override;
  bool over() const override;
  bool wantsWrite() const override;
  /** The client is gone: its calls end. */
  void abandon() override;

  /** Answers a unary call with one frame and status OK. `metadata`: more headers, name NUL value NUL … */
  void answer(Call& call, const char* metadata, size_t metadataLength, const uint8_t* frame, size_t length);
  /** Sends the answer's headers; with `end`, they are all of it. Texts are name NUL value NUL … */
  void respond(Call& call, std::string&& headers, bool end);
  void write(Call& call, const uint8_t* bytes, size_t length);
  void lend(Call& call, const Borrowed& bytes);
  void finish(Call& call, std::string&& trailers, bool bare = false);
  void reset(Call& call, uint32_t code);
  /** JavaScript has read so many bytes of an open call. */
  void consume(Call& call, size_t bytes);
  /** Shows a collecting call to JavaScript as it is. */
  void handOver(Call& call);

  /** Asks the client to open no more calls; `finishDrain` follows when it must have read that. */
  void startDrain() override;
  void finishDrain() override;
  bool draining() const { return draining_; }

  bool sweep(uint64_t now, uint64_t sent) override;
  /** Bytes that were no call's. */
  void charge(size_t bytes) override { conduct_.charge(bytes); }
  void expel() override { terminate(kEnhanceYourCalm); }
  /** HTTP/2 forbids it. */
  void expelForRenegotiation() override { terminate(kProtocolError); }
  size_t openCalls = 0;

  // nghttp2's callbacks.
  int onBeginHeaders(const Frame& frame);
  int onHeader(const Frame& frame, const uint8_t* name, size_t nameLength, const uint8_t* value, size_t valueLength);
  int onFrame(const Frame& frame);
  int onInvalidFrame();
  int onData(int32_t stream, const uint8_t* bytes, size_t length);
  int onClose(int32_t stream);
  ssize_t read(Call& call, uint8_t* out, size_t room, uint32_t* flags);

 private:
  void terminate(uint32_t code);
  Call* callOf(int32_t stream) const;
  void headersComplete(Call& call, bool end);
  void requestEnded(Call& call);
  void resume(Call& call);
  void settle(Call& call);
  void owe(size_t bytes);
  void link(Call& call);
  void unlink(Call& call);

  Calls& calls_;
  const ConnectionLimits& limits_;
  Http2Session* session_ = nullptr;
  Call* first_ = nullptr;
  /** Bytes of answers that have not left, over all calls. */
  size_t unsent_ = 0;
  /** Bytes of answers that flow control has let go. */
  uint64_t taken_ = 0;
  uint64_t now_;
  bool draining_ = false;
  bool drainFinished_ = false;
  Conduct conduct_;
};

}  // namespace switchyard::grpc
