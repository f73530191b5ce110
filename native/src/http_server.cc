#include "http_server.h"

#include <ctime>

namespace switchyard::http {

Server::Server(net::UvLoop* loop, const HttpLimits& limits, const net::SocketLimits& sockets, const Listener& listener)
    : Protocol(loop, sockets), listener_(listener) {
  exchanges.limits = limits;
}

/** Sets the date that answers of this turn carry. */
void Server::settle() {
  const time_t now = time(nullptr);
  if (now == second_) return;
  second_ = now;
  tm parts{};
  gmtime_r(&now, &parts);
  char text[64];
  const size_t length = strftime(text, sizeof text, "\r\nDate: %a, %d %b %Y %H:%M:%S GMT", &parts);
  exchanges.date.assign(text, length);
}

}  // namespace switchyard::http
