// The gRPC server: HTTP/2 connections on the sockets of socket_server.h.
#pragma once

#include <memory>
#include <string>

#include "grpc_connection.h"
#include "socket_server.h"

namespace switchyard::grpc {

struct ServerOptions {
  ConnectionLimits connection;
  SocketLimits sockets;
};

/** Whom a server tells of what happened. */
struct Listener {
  void* context;
  /** `calls.queued` holds what to tell; the listener empties it. */
  void (*turn)(void* context);
  /** The last connection of a draining server has ended. */
  void (*drained)(void* context);
  /** Takes answers that were left for this moment. */
  void (*collect)(void* context);
};

class Server final : public Protocol {
 public:
  Server(UvLoop* loop, const ServerOptions& options, const Listener& listener);

  void touch(Connection& connection) { sockets().touch(connection); }
  uint64_t now() const { return sockets().now(); }

  std::unique_ptr<net::Connection> connect(uint64_t now) override;
  void settle() override;
  bool untold() const override { return !calls.queued.empty(); }
  void tell() override { listener_.turn(listener_.context); }
  void collect() override { listener_.collect(listener_.context); }
  bool waits() const override { return !calls.waiting.empty() || !calls.lingering.empty(); }
  void tick() override;
  void drained() override { listener_.drained(listener_.context); }

  Calls calls;

 private:
  const ConnectionLimits limits_;
  const Listener listener_;
  const Http2Rules rules_;
};

}  // namespace switchyard::grpc
