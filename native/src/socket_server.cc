#include "socket_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "socket.h"

namespace switchyard::net {
namespace {

constexpr int kAcceptsPerTurn = 64;
constexpr int kRoundsPerTurn = 8;
constexpr uint64_t kTickMs = 10;
constexpr uint64_t kSweepMs = 1000;
constexpr uint64_t kDrainNoticeMs = 500;
constexpr int kLeaveSweeps = 2;

}  // namespace

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
  const int bound = listener_.open(name, port, shared);
  if (bound < 0) return bound;
  accepting_ = newHandle(kUvPoll, nullptr);
  const int failure = host.uv_poll_init_socket(loop_, accepting_, listener_.fd());
  if (failure != 0) {
    std::free(accepting_);
    handles_--;
    accepting_ = nullptr;
    listener_.close();
    return failure;
  }
  host.uv_poll_start(accepting_, kReadable,
                     [](UvHandle* handle, int, int) { static_cast<SocketServer*>(handle->data)->accept(); });
  return bound;
}

void SocketServer::accept() {
  std::string address;
  for (int i = 0; i < kAcceptsPerTurn; i++) {
    const int fd = listener_.accept(address);
    if (fd == Listener::kNobody) return;
    if (fd != Listener::kTurnedAway) admit(fd, address);
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

void SocketServer::touch(Connection& connection) {
  if (connection.dirty) return;
  connection.dirty = true;
  dirty_.push_back(static_cast<Socket*>(connection.owner));
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
  if (!listener_.listening()) return;
  retire(accepting_);
  accepting_ = nullptr;
  listener_.close();
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
