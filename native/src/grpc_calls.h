// The calls of a server: each is one HTTP/2 stream, known to JavaScript by its slot and the slot's generation.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "host.h"

namespace switchyard::grpc {

using namespace net;

class Connection;

/** Bytes to be sent that are too many to copy: they stay where they are until they have left, then `release` is called. */
struct Borrowed {
  const uint8_t* at;
  size_t length;
  void* owner;
};

enum class Stage : uint8_t {
  kCollecting,  // a unary call whose message has not arrived whole: JavaScript does not know of it yet
  kTaken,       // its one message was handed over, its answer is awaited
  kOpen,        // JavaScript sees the call's headers and bytes as they come
  kAnswered,    // the status is decided; what still arrives is dropped
};

enum class MethodKind : uint8_t { kGeneral, kUnary, kInfer };

struct Method {
  int32_t id;
  MethodKind kind;
};

/** One call. Reused for another one when its stream has closed. */
struct Call {
  Connection* connection = nullptr;
  int32_t stream = 0;
  uint32_t slot = 0;
  uint32_t generation = 0;
  Stage stage = Stage::kCollecting;
  Method method{0, MethodKind::kGeneral};

  // What the headers say.
  bool post = false;
  bool grpc = false;
  bool plain = true;
  bool traced = false;
  int32_t timeoutDigits = -1;
  char timeoutUnit = 0;
  int headerCount = 0;
  /** name NUL value NUL … */
  std::string headers;
  uint64_t openedAt = 0;

  // The request.
  std::string body;
  bool ended = false;
  bool dataQueued = false;
  bool extraQueued = false;

  // The answer.
  std::string out;
  size_t outAt = 0;
  std::deque<Borrowed> borrowed;
  size_t unsent = 0;
  /** Trailers in the form of `headers`; empty: status OK. */
  std::string trailers;
  bool headersSent = false;
  bool ending = false;
  /** No trailers follow: the answer is not gRPC. */
  bool bare = false;
  bool deferred = false;
  bool wantsDrain = false;
  /** The end of the answer is with nghttp2. */
  bool complete = false;
  /** Ticks for which the client has not ended its request since. */
  int lingered = 0;

  // Among the calls of its connection.
  Call* previous = nullptr;
  Call* next = nullptr;
};

/** How often a call's headers have a name (lower case), counted to two; `value` is the first one's, NUL behind it. */
int headerOf(const Call& call, const std::string& name, const char** value);

/** What JavaScript is to hear, in order. */
enum class Notice : uint8_t { kReady, kOpen, kData, kEnd, kClosed, kExtra, kDrained };

struct Queued {
  Notice notice;
  uint32_t slot;
  uint32_t generation;
};

/** All that connections share: calls by slot, what is to be told, limits and methods. */
class Calls {
 public:
  Call* open(Connection* connection, int32_t stream);
  /** Frees the slot. `release` of its borrowed bytes has been called before. */
  void close(Call* call);
  Call* find(uint32_t slot, uint32_t generation);
  void queue(Notice notice, const Call& call) { queued.push_back({notice, call.slot, call.generation}); }

  std::vector<Queued> queued;
  /** Calls that collect since the last turn, and those that have for longer. */
  std::vector<Queued> fresh;
  std::deque<Queued> waiting;
  /** Answered calls whose client has not ended its request. */
  std::vector<Queued> lingering;
  std::unordered_map<std::string, Method> methods;
  /** Lets go of borrowed bytes. */
  void (*release)(void* context, void* owner) = nullptr;
  void* releaseContext = nullptr;

  /** Bytes of answers that have not left, over all connections. */
  size_t unsent = 0;

  size_t size() const { return slots_.size() - free_.size(); }

 private:
  std::vector<std::unique_ptr<Call>> slots_;
  std::vector<uint32_t> free_;
};

}  // namespace switchyard::grpc
