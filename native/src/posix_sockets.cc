#include "posix_sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace switchyard::net {
namespace {

constexpr int kBacklog = 511;

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
  const int fd = ::accept(listener, address, &length);
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

int openSpare() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

}  // namespace

int Listener::open(const char* host, int port, bool shared) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (getaddrinfo(host, std::to_string(port).c_str(), &hints, &found) != 0) return -EADDRNOTAVAIL;
  const int fd = openSocket(*found, shared);
  freeaddrinfo(found);
  if (fd < 0) return fd;
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length);
  fd_ = fd;
  spare_ = openSpare();
  // sin_port and sin6_port lie at the same place.
  return ntohs(reinterpret_cast<const sockaddr_in&>(bound).sin_port);
}

int Listener::accept(std::string& address) {
  if (fd_ < 0) return kNobody;
  sockaddr_storage from{};
  int fd = acceptSocket(fd_, from);
  if (fd < 0 && (errno == EMFILE || errno == ENFILE) && spare_ >= 0) {
    ::close(spare_);
    fd = acceptSocket(fd_, from);
    if (fd >= 0) ::close(fd);
    spare_ = openSpare();
    return kTurnedAway;
  }
  if (fd < 0) return kNobody;
  address = textOf(from);
  return fd;
}

void Listener::close() {
  if (fd_ >= 0) ::close(fd_);
  if (spare_ >= 0) ::close(spare_);
  fd_ = spare_ = -1;
}

}  // namespace switchyard::net
