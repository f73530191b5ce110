// The HTTP/1.1 server: its connections on the sockets of socket_server.h.
#pragma once

#include <memory>

#include "http_connection.h"
#include "socket_server.h"

namespace switchyard::http {

/** Whom a server tells of what happened. */
struct Listener {
  void* context;
  /** `exchanges.queued` holds what to tell; the listener empties it. */
  void (*turn)(void* context);
  /** Takes answers that were left for this moment. */
  void (*collect)(void* context);
};

class Server final : public net::Protocol {
 public:
  Server(net::UvLoop* loop, const HttpLimits& limits, const net::SocketLimits& sockets, const Listener& listener);

  std::unique_ptr<net::Connection> connect(uint64_t now) override {
    return std::make_unique<HttpConnection>(exchanges, now);
  }
  void settle() override;
  bool untold() const override { return !exchanges.queued.empty(); }
  void tell() override { listener_.turn(listener_.context); }
  void collect() override { listener_.collect(listener_.context); }
  void drained() override {}

  Exchanges exchanges;

 private:
  const Listener listener_;
  int64_t second_ = 0;
};

}  // namespace switchyard::http
