// Bytes in and out of one socket: between the system, TLS where there is any, and the connection.
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "socket.h"

namespace switchyard::net {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
constexpr int kReadsPerTurn = 4;
/** Frames are made ready in portions of this size, and at most so many for one connection in one turn. */
constexpr size_t kPortion = 256 * 1024;
constexpr int kPortionsPerTurn = 4;

/** What one message of TLS itself counts among the bytes that are no call's. Honest clients send hardly any. */
constexpr size_t kStrayBytes = 16 * 1024;
/** Of bytes for a client that does not read, more than this can only be TLS's answers to its own messages. */
constexpr size_t kMaxEncrypted = 4 * kPortion;

/** One for each thread: bytes pass through it between the socket and nghttp2, under TLS through the second one too. */
thread_local uint8_t readBuffer[kReadBytes];
thread_local uint8_t plainBuffer[kReadBytes];
/** The same for the way out: what is to be encrypted is nowhere kept. */
thread_local std::string plainOutput;

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

}  // namespace

void SocketServer::watch(Socket& socket, int events) {
  if (socket.events == events) return;
  socket.events = events;
  host.uv_poll_start(socket.poll, events, [](UvHandle* handle, int status, int ready) {
    auto& self = *static_cast<Socket*>(handle->data);
    SocketServer& server = self.server;
    if (status < 0) {
      server.drop(self);
      return;
    }
    if ((ready & kDisconnected) != 0 && (ready & kReadable) == 0) {
      server.drop(self);
      return;
    }
    if ((ready & kWritable) != 0) server.touch(*self.connection);
    if ((ready & kReadable) != 0) server.onReadable(self);
  });
}

void SocketServer::onReadable(Socket& socket) {
  for (int i = 0; i < kReadsPerTurn; i++) {
    const ssize_t count = recv(socket.fd, readBuffer, kReadBytes, 0);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
      drop(socket);
      return;
    }
    if (count < 0) return;
    if (socket.finished) continue;
    touch(*socket.connection);
    const auto length = static_cast<size_t>(count);
    const bool good =
        socket.tls == nullptr ? socket.connection->receive(readBuffer, length, now()) : decrypt(socket, length);
    if (socket.dropped) return;
    if (!good) {
      leave(socket);
      return;
    }
    if (static_cast<size_t>(count) < kReadBytes) return;
  }
}

/** Hands the connection what is in `readBuffer`. False as `receive`; the socket is dropped where the client closed it. */
bool SocketServer::decrypt(Socket& socket, size_t length) {
  TlsSession& tls = *socket.tls;
  Connection& connection = *socket.connection;
  tls.feed(readBuffer, length);
  while ((length = tls.read(plainBuffer, sizeof plainBuffer)) > 0) {
    if (!connection.receive(plainBuffer, length, now())) return false;
  }
  connection.charge(tls.takeStrays() * kStrayBytes);
  if (tls.renegotiating()) {
    connection.expelForRenegotiation();
    return false;
  }
  if (tls.state() == TlsSession::State::kClosed) drop(socket);
  if (tls.state() == TlsSession::State::kFailed || tls.unsent() > kMaxEncrypted) connection.breakOff();
  return !connection.broken();
}

/** Connection::produce under TLS: what it makes ready is encrypted into the session's output. */
bool SocketServer::encrypt(Socket& socket) {
  TlsSession& tls = *socket.tls;
  Connection& connection = *socket.connection;
  if (!tls.open()) return false;
  if (tls.unsent() >= kPortion) return true;
  connection.output.swap(plainOutput);
  const bool more = connection.produce(kPortion - tls.unsent());
  tls.write(connection.output.data(), connection.output.size());
  connection.output.clear();
  connection.output.swap(plainOutput);
  if (!tls.open()) connection.breakOff();
  else if (!more && connection.over()) tls.close();
  return more;
}

/** Sends what a connection has to say until it has said all, the client's window is full, or its turn is over. */
void SocketServer::flush(Socket& socket) {
  Connection& connection = *socket.connection;
  std::string& output = socket.tls == nullptr ? connection.output : socket.tls->output;
  size_t& outputAt = socket.tls == nullptr ? connection.outputAt : socket.tls->outputAt;
  for (int i = 0; i < kPortionsPerTurn; i++) {
    const bool more = socket.tls == nullptr ? connection.produce(kPortion) : encrypt(socket);
    while (outputAt < output.size()) {
      const ssize_t count = send(socket.fd, output.data() + outputAt, output.size() - outputAt, MSG_NOSIGNAL);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) {
        watch(socket, socket.leaving ? kWritable : socket.reading() | kWritable);
        return;
      }
      if (count < 0) {
        drop(socket);
        return;
      }
      outputAt += static_cast<size_t>(count);
      socket.sent += static_cast<uint64_t>(count);
    }
    output.clear();
    outputAt = 0;
    if (!more) {
      connection.flushed();
      if (connection.over()) finish(socket);
      else if (!socket.leaving) watch(socket, socket.reading());
      return;
    }
  }
  watch(socket, socket.leaving ? kWritable : socket.reading() | kWritable);
}

/** Everything has left. */
void SocketServer::finish(Socket& socket) {
  if (socket.finished) return;
  shutdown(socket.fd, SHUT_WR);
  socket.finished = true;
  if (!socket.connection->lingers()) {
    drop(socket);
    return;
  }
  socket.leaving = true;
  watch(socket, kReadable);
}

/** No more is read from the client, but it may still learn why. */
void SocketServer::leave(Socket& socket) {
  socket.leaving = true;
  watch(socket, kWritable);
}

/** Takes a socket out of everything. Its memory goes when nothing refers to it any more. */
void SocketServer::drop(Socket& socket) {
  if (socket.dropped) return;
  socket.dropped = true;
  retire(socket.poll);
  if (socket.tls != nullptr) {
    // As much of a farewell as the socket takes at once.
    TlsSession& tls = *socket.tls;
    tls.close();
    if (tls.unsent() > 0) send(socket.fd, tls.output.data() + tls.outputAt, tls.unsent(), MSG_NOSIGNAL);
  }
  // What the client has still sent is read, so that closing does not take back what it has not read yet.
  while (recv(socket.fd, readBuffer, kReadBytes, MSG_DONTWAIT) > 0) {
  }
  ::close(socket.fd);
  sockets_[socket.index] = sockets_.back();
  sockets_[socket.index]->index = socket.index;
  sockets_.pop_back();
  const auto known = addresses_.find(socket.address);
  if (--known->second == 0) addresses_.erase(known);
  socket.connection->abandon();
  touch(*socket.connection);
}

}  // namespace switchyard::net
