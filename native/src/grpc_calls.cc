#include "grpc_calls.h"

#include <cstring>

namespace switchyard::grpc {
namespace {

/** Buffers up to this size are kept for the slot's next call. */
constexpr size_t kKept = 16384;

void clear(std::string& text) {
  if (text.capacity() > kKept) std::string().swap(text);
  else text.clear();
}

}  // namespace

int headerOf(const Call& call, const std::string& name, const char** value) {
  int count = 0;
  const char* at = call.headers.data();
  const char* const end = at + call.headers.size();
  while (at < end && count < 2) {
    const char* const own = at + std::strlen(at) + 1;
    if (own >= end) break;
    if (name == at && count++ == 0) *value = own;
    at = own + std::strlen(own) + 1;
  }
  return count;
}

Call* Calls::open(Connection* connection, int32_t stream) {
  Call* call;
  if (free_.empty()) {
    slots_.push_back(std::make_unique<Call>());
    call = slots_.back().get();
    call->slot = static_cast<uint32_t>(slots_.size() - 1);
  } else {
    call = slots_[free_.back()].get();
    free_.pop_back();
  }
  call->connection = connection;
  call->stream = stream;
  call->stage = Stage::kCollecting;
  call->method = {0, MethodKind::kGeneral};
  call->post = call->grpc = call->traced = false;
  call->plain = true;
  call->timeoutDigits = -1;
  call->timeoutUnit = 0;
  call->headerCount = 0;
  call->ended = call->dataQueued = call->extraQueued = false;
  call->outAt = call->unsent = 0;
  call->lingered = 0;
  call->headersSent = call->ending = call->bare = call->deferred = call->wantsDrain = call->complete = false;
  return call;
}

void Calls::close(Call* call) {
  // Generations stay within what a word of JavaScript's Int32Array holds.
  call->generation = (call->generation + 1) & 0x3fffffff;
  call->connection = nullptr;
  clear(call->headers);
  clear(call->body);
  clear(call->out);
  clear(call->trailers);
  for (const Borrowed& bytes : call->borrowed) release(releaseContext, bytes.owner);
  call->borrowed.clear();
  free_.push_back(call->slot);
}

Call* Calls::find(uint32_t slot, uint32_t generation) {
  if (slot >= slots_.size()) return nullptr;
  Call* call = slots_[slot].get();
  return call->generation == generation && call->connection != nullptr ? call : nullptr;
}

}  // namespace switchyard::grpc
