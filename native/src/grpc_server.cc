#include "grpc_server.h"

#include <utility>

namespace switchyard::grpc {
namespace {

constexpr uint64_t kTickMs = 10;
/** A client that still sends is asked to stop after so many: a reset that leaves with the answer takes the answer's place. */
constexpr int kLingerTicks = 10;

}  // namespace

Server::Server(UvLoop* loop, const ServerOptions& options, const Listener& listener)
    : Protocol(loop, options.sockets), limits_(options.connection), listener_(listener) {}

std::unique_ptr<net::Connection> Server::connect(uint64_t now) {
  return std::make_unique<Connection>(calls, rules_, limits_, now);
}

void Server::settle() {
  for (const Queued& fresh : calls.fresh) {
    const Call* call = calls.find(fresh.slot, fresh.generation);
    if (call != nullptr && call->stage == Stage::kCollecting) calls.waiting.push_back(fresh);
  }
  calls.fresh.clear();
}

/** Gives up on messages that do not come at once, and on requests that do not end though they are answered. */
void Server::tick() {
  while (!calls.waiting.empty()) {
    Call* call = calls.find(calls.waiting.front().slot, calls.waiting.front().generation);
    if (call != nullptr && call->stage == Stage::kCollecting) {
      if (now() - call->openedAt < kTickMs) break;
      call->connection->handOver(*call);
    }
    calls.waiting.pop_front();
  }
  std::vector<Queued> lingering;
  lingering.swap(calls.lingering);
  for (const Queued& one : lingering) {
    Call* call = calls.find(one.slot, one.generation);
    if (call == nullptr || call->ended) continue;
    if (++call->lingered < kLingerTicks) {
      calls.lingering.push_back(one);
      continue;
    }
    Connection& connection = *call->connection;
    connection.reset(*call, kNoError);
    sockets().touch(connection);
  }
}

}  // namespace switchyard::grpc
