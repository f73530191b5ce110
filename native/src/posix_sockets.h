// Listening sockets as the operating system has them: opened, accepted from, named. Nothing here knows a loop or a protocol.
#pragma once

#include <string>

namespace switchyard::net {

/** A listening socket: never blocking, and never open in child processes. */
class Listener {
 public:
  ~Listener() { close(); }
  Listener() = default;
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /** The port; or the negative errno. With `shared`, other threads may listen on it too. */
  int open(const char* host, int port, bool shared);
  static constexpr int kNobody = -1;
  static constexpr int kTurnedAway = -2;
  /** A client's socket, and its address as text. kTurnedAway: no descriptor was left for it. */
  int accept(std::string& address);
  void close();
  bool listening() const { return fd_ >= 0; }
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
  /** Given up for a moment to turn a connection away when no other descriptor is left. */
  int spare_ = -1;
};

}  // namespace switchyard::net
