#include "socket_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace switchyard::net {
namespace {

constexpr int kBacklog = 511;
constexpr int kAcceptsPerTurn = 64;
constexpr size_t kReadBytes = 64 * 1024;
constexpr int kReadsPerTurn = 4;
/** Frames are made ready in portions of this size, and at most so many for one connection in one turn. */
constexpr size_t kPortion = 256 * 1024;
constexpr int kPortionsPerTurn = 4;
constexpr int kRoundsPerTurn = 8;
constexpr uint64_t kTickMs = 10;
constexpr uint64_t kSweepMs = 1000;
constexpr uint64_t kDrainNoticeMs = 500;
constexpr int kLeaveSweeps = 2;

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

/** Never blocks, is not inherited, and raises no signal when its client is gone. */
void prepareSocket(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
}

int acceptSocket(int listener, sockaddr_storage& from) {
  socklen_t length = sizeof from;
  auto* address = reinterpret_cast<sockaddr*>(&from);
#ifdef __linux__
  return accept4(listener, address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
  const int fd = accept(listener, address, &length);
  if (fd >= 0) prepareSocket(fd);
  return fd;
#endif
}

int openSocket(const addrinfo& address, bool shared) {
  const int fd = socket(address.ai_family, SOCK_STREAM, 0);
  if (fd < 0) return -errno;
  prepareSocket(fd);
  const int on = 1;
  const int off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  bool good = !shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0;
  good = good && bind(fd, address.ai_addr, address.ai_addrlen) == 0 && ::listen(fd, kBacklog) == 0;
  if (good) return fd;
  const int failure = -errno;
  ::close(fd);
  return failure;
}

std::string textOf(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, sizeof text);
  } else if (address.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text, sizeof text);
  }
  return text;
}

}  // namespace

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

Protocol::Protocol(UvLoop* loop, const SocketLimits& limits) : sockets_(new SocketServer(loop, limits, *this)) {}

void Protocol::close(void (*closed)(void*), void* context) {
  closed_ = closed;
  closedContext_ = context;
  sockets_->close(
      [](void* self) {
        const std::unique_ptr<Protocol> protocol(static_cast<Protocol*>(self));
        if (protocol->closed_ != nullptr) protocol->closed_(protocol->closedContext_);
      },
      this);
}

SocketServer::SocketServer(UvLoop* loop, const SocketLimits& limits, Protocol& protocol)
    : loop_(loop), limits_(limits), protocol_(protocol) {
  check_ = newHandle(kUvCheck, host.uv_check_init);
  prepare_ = newHandle(kUvPrepare, host.uv_prepare_init);
  tick_ = newHandle(kUvTimer, host.uv_timer_init);
  sweeper_ = newHandle(kUvTimer, host.uv_timer_init);
  host.uv_check_start(check_, [](UvHandle* handle) { static_cast<SocketServer*>(handle->data)->endTurn(); });
  host.uv_prepare_start(prepare_, [](UvHandle* handle) { static_cast<SocketServer*>(handle->data)->endTurn(); });
  host.uv_timer_start(sweeper_, [](UvHandle* handle) { static_cast<SocketServer*>(handle->data)->sweep(); }, kSweepMs, kSweepMs);
  // Sockets keep the loop alive, nothing else does.
  for (UvHandle* handle : {check_, prepare_, tick_, sweeper_}) host.uv_unref(handle);
}

UvHandle* SocketServer::newHandle(int type, int (*init)(UvLoop*, UvHandle*)) {
  auto* handle = static_cast<UvHandle*>(std::calloc(1, host.uv_handle_size(type)));
  if (init != nullptr) init(loop_, handle);
  handle->data = this;
  handles_++;
  return handle;
}

void SocketServer::retire(UvHandle* handle) {
  handle->data = this;
  host.uv_close(handle, [](UvHandle* done) {
    auto* server = static_cast<SocketServer*>(done->data);
    std::free(done);
    server->released();
  });
}

void SocketServer::released() {
  if (--handles_ > 0 || !closing_) return;
  const auto closed = closed_;
  void* const context = closedContext_;
  delete this;
  if (closed != nullptr) closed(context);
}

uint64_t SocketServer::now() const { return host.uv_now(loop_); }

std::string SocketServer::secure(const TlsOptions& options) {
  tls_ = std::make_unique<TlsContext>();
  return tls_->configure(options);
}

int SocketServer::listen(const char* name, int port, bool shared) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (getaddrinfo(name, std::to_string(port).c_str(), &hints, &found) != 0) return -EADDRNOTAVAIL;
  const int fd = openSocket(*found, shared);
  freeaddrinfo(found);
  if (fd < 0) return fd;
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length);
  accepting_ = newHandle(kUvPoll, nullptr);
  const int failure = host.uv_poll_init_socket(loop_, accepting_, fd);
  if (failure != 0) {
    std::free(accepting_);
    handles_--;
    accepting_ = nullptr;
    ::close(fd);
    return failure;
  }
  fd_ = fd;
  spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
  host.uv_poll_start(accepting_, kReadable,
                     [](UvHandle* handle, int, int) { static_cast<SocketServer*>(handle->data)->accept(); });
  // sin_port and sin6_port lie at the same place.
  return ntohs(reinterpret_cast<const sockaddr_in&>(bound).sin_port);
}

void SocketServer::accept() {
  for (int i = 0; i < kAcceptsPerTurn && fd_ >= 0; i++) {
    sockaddr_storage from{};
    int fd = acceptSocket(fd_, from);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE) && spare_ >= 0) {
      ::close(spare_);
      fd = acceptSocket(fd_, from);
      if (fd >= 0) ::close(fd);
      spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
      continue;
    }
    if (fd < 0) return;
    admit(fd, textOf(from));
  }
}

void SocketServer::admit(int fd, const std::string& address) {
  size_t& count = addresses_[address];
  if (sockets_.size() >= limits_.maxConnections || count >= limits_.maxConnectionsPerAddress) {
    if (count == 0) addresses_.erase(address);
    ::close(fd);
    return;
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  UvHandle* poll = newHandle(kUvPoll, nullptr);
  if (host.uv_poll_init_socket(loop_, poll, fd) != 0) {
    std::free(poll);
    handles_--;
    if (count == 0) addresses_.erase(address);
    ::close(fd);
    return;
  }
  count++;
  auto* socket = new Socket{*this,   fd, poll, 0, address, sockets_.size(), 0, false, 0, false,
                            tls_ == nullptr ? nullptr : std::make_unique<TlsSession>(*tls_),
                            protocol_.connect(now())};
  socket->connection->owner = socket;
  poll->data = socket;
  sockets_.push_back(socket);
  if (draining_) socket->connection->startDrain();
  watch(*socket, kReadable);
  touch(*socket->connection);
}

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

/** No more is read from the client, but it may still learn why. */
void SocketServer::leave(Socket& socket) {
  socket.leaving = true;
  watch(socket, kWritable);
}

void SocketServer::touch(Connection& connection) {
  if (connection.dirty) return;
  connection.dirty = true;
  dirty_.push_back(static_cast<Socket*>(connection.owner));
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

void SocketServer::flushAll() {
  protocol_.collect();
  // Sending may make other work: what is added meanwhile is done too.
  for (size_t i = 0; i < dirty_.size(); i++) {
    Socket* socket = dirty_[i];
    socket->connection->dirty = false;
    if (socket->dropped) delete socket;
    else flush(*socket);
  }
  dirty_.clear();
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

/**
 * After the sockets of a turn, and before the loop waits for the next: tells what came, then sends what was answered.
 * Sending may give more to tell.
 */
void SocketServer::endTurn() {
  protocol_.settle();
  for (int i = 0; i < kRoundsPerTurn; i++) {
    if (protocol_.untold()) protocol_.tell();
    if (closing_) return;
    flushAll();
    if (!protocol_.untold()) break;
  }
  armTick();
  checkDrained();
}

void SocketServer::armTick() {
  const bool more = protocol_.untold();
  if (tickArmed_ || (!protocol_.waits() && !more)) return;
  tickArmed_ = true;
  host.uv_timer_start(
      tick_, [](UvHandle* handle) { static_cast<SocketServer*>(handle->data)->tick(); }, more ? 0 : kTickMs, 0);
}

void SocketServer::tick() {
  tickArmed_ = false;
  protocol_.tick();
  // Armed again at the end of this turn, where need be.
}

void SocketServer::sweep() {
  // Backwards: dropping one puts the last in its place, which has been looked at.
  for (size_t i = sockets_.size(); i-- > 0;) {
    Socket& socket = *sockets_[i];
    if (socket.leaving) {
      if (++socket.leavingSweeps > kLeaveSweeps) drop(socket);
      continue;
    }
    const bool noticed = draining_ && now() - drainStarted_ >= kDrainNoticeMs;
    const bool good = socket.connection->sweep(now(), socket.sent);
    // Before its handshake is over, a client cannot be told why.
    if ((!good || noticed) && socket.shakingHands()) {
      drop(socket);
      continue;
    }
    if (!good) {
      socket.connection->expel();
      leave(socket);
    }
    if (noticed) socket.connection->finishDrain();
    if (socket.connection->wantsWrite()) touch(*socket.connection);
  }
}

void SocketServer::stopAccepting() {
  if (fd_ < 0) return;
  retire(accepting_);
  accepting_ = nullptr;
  ::close(fd_);
  fd_ = -1;
}

size_t SocketServer::startDrain() {
  if (draining_ || closing_) return sockets_.size();
  draining_ = true;
  drainStarted_ = now();
  stopAccepting();
  for (Socket* socket : sockets_) {
    socket->connection->startDrain();
    touch(*socket->connection);
  }
  drainTold_ = sockets_.empty();
  return sockets_.size();
}

void SocketServer::checkDrained() {
  if (!draining_ || drainTold_ || !sockets_.empty()) return;
  drainTold_ = true;
  protocol_.drained();
}

void SocketServer::close(void (*closed)(void*), void* context) {
  if (closing_) return;
  closing_ = true;
  closed_ = closed;
  closedContext_ = context;
  stopAccepting();
  if (spare_ >= 0) ::close(spare_);
  while (!sockets_.empty()) drop(*sockets_.back());
  for (Socket* socket : dirty_) delete socket;
  dirty_.clear();
  for (UvHandle* handle : {check_, prepare_, tick_, sweeper_}) retire(handle);
}

std::string SocketServer::certificateName(const Connection& connection) const {
  const auto& tls = static_cast<Socket*>(connection.owner)->tls;
  return tls == nullptr ? std::string() : tls->certificateName();
}

std::string SocketServer::peer(const Connection& connection) const {
  return static_cast<Socket*>(connection.owner)->address;
}

size_t SocketServer::sending() const {
  size_t count = 0;
  for (const Socket* socket : sockets_) {
    const bool encrypted = socket->tls != nullptr && socket->tls->unsent() > 0;
    if (!socket->leaving && (encrypted || socket->connection->wantsWrite())) count++;
  }
  return count;
}

}  // namespace switchyard::net
