// One socket of a server, with what it carries.
#pragma once

#include "socket_server.h"

namespace switchyard::net {

struct SocketServer::Socket {
  SocketServer& server;
  int fd;
  UvHandle* poll;
  int events = 0;
  std::string address;
  size_t index;
  uint64_t sent = 0;
  /** It is to be closed as soon as what is ready has left, and after so many sweeps in any case. */
  bool leaving = false;
  int leavingSweeps = 0;
  bool dropped = false;
  std::unique_ptr<TlsSession> tls;
  std::unique_ptr<Connection> connection;

  /** The client is to be told that nothing more comes, and to have the time to read so. */
  bool finished = false;

  int reading() const { return connection->wantsRead() ? kReadable : kDisconnected; }
  bool shakingHands() const { return tls != nullptr && tls->state() == TlsSession::State::kHandshake; }
};

}  // namespace switchyard::net
