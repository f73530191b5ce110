// The sockets of a server on a libuv loop: accepts, reads, writes, sweeps, with or without TLS. What they carry is a
// protocol's. What arrives in one turn of the loop is told at its end in one go, and everything that was answered in a
// turn leaves with one write for each connection.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host.h"
#include "posix_sockets.h"
#include "tls.h"

namespace switchyard::net {

/** One connection without its socket: bytes in, bytes out. */
class Connection {
 public:
  virtual ~Connection() = default;

  /** Takes what the client sent. False: the connection is to be closed once `output` has left. */
  virtual bool receive(const uint8_t* bytes, size_t length, uint64_t now) = 0;
  /** Appends to `output` until it holds `limit` bytes. True: there may be more. */
  virtual bool produce(size_t limit) = 0;
  /** Nothing more will be read or written. */
  virtual bool over() const = 0;
  /** Something is to be written. */
  virtual bool wantsWrite() const = 0;
  /** False: what the client sends is to wait in its socket. */
  virtual bool wantsRead() const { return true; }
  /** All that there was to send is with the system. */
  virtual void flushed() {}
  /** When it is over, what the client still sends is read for a moment, so that it finds the last answer. */
  virtual bool lingers() const { return false; }
  /** The client is gone. */
  virtual void abandon() = 0;
  virtual void startDrain() {}
  virtual void finishDrain() {}
  /** Looks at the time since the last sweep; to be called once a second. False: it is to be closed. */
  virtual bool sweep(uint64_t now, uint64_t sent) = 0;
  /** Counts bytes that did not come through `receive`: messages of TLS itself. */
  virtual void charge(size_t) {}
  /** Ends the connection, telling the client that it asked too much. */
  virtual void expel() = 0;
  /** The same for one that breaks the protocol of TLS. */
  virtual void expelForRenegotiation() { expel(); }
  /** Nothing can be sent or received any more, though what is under way may not have ended. */
  void breakOff() { broken_ = true; }
  bool broken() const { return broken_; }

  std::string output;
  size_t outputAt = 0;
  /** Of the server: in its list of connections that have something to send. */
  bool dirty = false;
  void* owner = nullptr;

 protected:
  bool broken_ = false;
};

struct SocketLimits {
  size_t maxConnections = 10000;
  size_t maxConnectionsPerAddress = 4096;
};

class SocketServer;

/** What sockets carry, with the sockets that are its own. */
class Protocol {
 public:
  Protocol(UvLoop* loop, const SocketLimits& limits);
  virtual ~Protocol() = default;

  SocketServer& sockets() { return *sockets_; }
  const SocketServer& sockets() const { return *sockets_; }
  /** Closes all sockets and frees itself, then `closed` is called. */
  void close(void (*closed)(void* context), void* context);

  virtual std::unique_ptr<Connection> connect(uint64_t now) = 0;
  /** A turn of the loop ends. */
  virtual void settle() {}
  /** There is something to tell; `tell` tells it. */
  virtual bool untold() const = 0;
  virtual void tell() = 0;
  /** Takes answers that were left for this moment. */
  virtual void collect() = 0;
  /** `tick` is to be called in some 10 ms. */
  virtual bool waits() const { return false; }
  virtual void tick() {}
  /** The last connection of a draining server has ended. */
  virtual void drained() = 0;

 private:
  /** Frees itself. */
  SocketServer* const sockets_;
  void (*closed_)(void*) = nullptr;
  void* closedContext_ = nullptr;
};

class SocketServer {
 public:
  SocketServer(UvLoop* loop, const SocketLimits& limits, Protocol& protocol);

  /** Connections are to be TLS: '', or what is wrong with the options. To be called before `listen`. */
  std::string secure(const TlsOptions& options);
  /** The port; or the negative errno. With `shared`, other threads may listen on it too. */
  int listen(const char* host, int port, bool shared);
  void stopAccepting();
  /** How many connections are left to end. */
  size_t startDrain();
  /** Closes all sockets. The server frees itself when the loop has let go of its handles, then `closed` is called. */
  void close(void (*closed)(void* context), void* context);
  bool closing() const { return closing_; }

  /** Something is to be sent on the connection: at the end of this turn. */
  void touch(Connection& connection);
  std::string peer(const Connection& connection) const;
  /** The name that the client's certificate gives it, '' without one. */
  std::string certificateName(const Connection& connection) const;
  uint64_t now() const;
  /** Connections that hold bytes which have not left. */
  size_t sending() const;

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
  void finish(Socket& socket);
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
  const SocketLimits limits_;
  Protocol& protocol_;
  std::unique_ptr<TlsContext> tls_;
  Listener listener_;
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

}  // namespace switchyard::net
