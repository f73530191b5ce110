// The sockets of a gRPC server on a libuv loop: accepts, reads, writes, sweeps. What arrives in one turn of the loop is
// told at its end in one go, and everything that was answered in a turn leaves with one write for each connection.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "grpc_connection.h"
#include "grpc_tls.h"

namespace switchyard::grpc {

struct ServerOptions {
  ConnectionLimits connection;
  size_t maxConnections = 10000;
  size_t maxConnectionsPerAddress = 4096;
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

class Server {
 public:
  Server(UvLoop* loop, const ServerOptions& options, const Listener& listener);

  /** Connections are to be TLS: '', or what is wrong with the options. To be called before `listen`. */
  std::string secure(const TlsOptions& options);
  /** The port; or the negative errno. With `shared`, other threads may listen on it too. */
  int listen(const char* host, int port, bool shared);
  /** How many connections are left to end. */
  size_t startDrain();
  /** Closes all sockets. The server frees itself when the loop has let go of its handles, then `closed` is called. */
  void close(void (*closed)(void* context), void* context);
  bool closing() const { return closing_; }

  /** Something is to be sent on the connection: at the end of this turn. */
  void touch(Connection& connection);
  std::string peer(const Call& call) const;
  /** The name that the client's certificate gives it, '' without one. */
  std::string certificateName(const Call& call) const;
  uint64_t now() const;

  Calls calls;

 private:
  struct Socket;

  UvHandle* newHandle(int type, int (*init)(UvLoop*, UvHandle*));
  void retire(UvHandle* handle);
  void released();
  void accept();
  void admit(int fd, const std::string& address);
  void onReadable(Socket& socket);
  bool decrypt(Socket& socket, size_t length);
  bool encrypt(Socket& socket);
  void flush(Socket& socket);
  void flushAll();
  void leave(Socket& socket);
  void watch(Socket& socket, int events);
  void drop(Socket& socket);
  void endTurn();
  void tick();
  void sweep();
  void armTick();
  void checkDrained();

  UvLoop* const loop_;
  const ServerOptions options_;
  const Listener listener_;
  const Http2Rules rules_;
  std::unique_ptr<TlsContext> tls_;
  int fd_ = -1;
  /** Given up for a moment to turn a connection away when no other descriptor is left. */
  int spare_ = -1;
  UvHandle* accepting_ = nullptr;
  UvHandle* check_ = nullptr;
  UvHandle* prepare_ = nullptr;
  UvHandle* tick_ = nullptr;
  UvHandle* sweeper_ = nullptr;
  std::vector<Socket*> sockets_;
  std::vector<Socket*> dirty_;
  std::map<std::string, size_t> addresses_;
  size_t handles_ = 0;
  bool tickArmed_ = false;
  bool draining_ = false;
  bool drainTold_ = false;
  bool closing_ = false;
  uint64_t drainStarted_ = 0;
  void (*closed_)(void*) = nullptr;
  void* closedContext_ = nullptr;
};

}  // namespace switchyard::grpc
