// A libFuzzer target for the gRPC server of native/src but its sockets and its binding:  .ci/fuzz.sh SECONDS
// The first byte of an input chooses what is done with the rest: a message for the decoder, or bytes of a client on a
// connection, whose calls are answered, written to, reset and left alone as further bytes say.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>

#include "grpc_connection.h"
#include "grpc_message.h"
#include "types.h"

namespace {

using namespace switchyard;
using namespace switchyard::grpc;
using switchyard::grpc::Connection;

void require(bool holds) {
  if (!holds) std::abort();
}

bool within(const Piece& piece, const uint8_t* begin, size_t size) {
  return piece.length == 0 || (piece.at >= begin && piece.at + piece.length <= begin + size);
}

void decode(const uint8_t* data, size_t size) {
  const std::unique_ptr<uint8_t[]> message(new uint8_t[size]);
  if (size > 0) std::memcpy(message.get(), data, size);
  auto view = std::make_unique<InferView>();
  if (!decodeInferMessage(message.get(), size, *view)) return;
  require(within(view->model, message.get(), size) && within(view->version, message.get(), size));
  require(within(view->id, message.get(), size) && view->model.length <= kMaxName);
  for (int i = 0; i < view->inputCount; i++) {
    const InputView& input = view->inputs[i];
    require(within(input.name, message.get(), size) && within(input.data, message.get(), size));
    require(input.type >= 0 && input.type < kTypes && input.rank >= 0 && input.rank <= kMaxRank);
    uint64_t count = 1;
    for (int d = 0; d < input.rank; d++) count *= static_cast<uint64_t>(input.dims[d]);
    const int bytes = kElementBytes[input.type];
    if (bytes > 0) require(count * static_cast<uint64_t>(bytes) == input.data.length);
  }
}

/** The bytes of an input, one by one; 0 when they are used up. */
struct Choices {
  const uint8_t* at;
  const uint8_t* end;
  uint8_t next() { return at < end ? *at++ : 0; }
};

std::set<void*> lent;

/** Does to a call what a method might. */
void act(Connection& connection, Calls& calls, const Queued& told, uint8_t choice) {
  Call* call = calls.find(told.slot, told.generation);
  if (call == nullptr) return;
  static const uint8_t kBytes[70000] = {};
  static const char kMetadata[] = {'x', '-', 'v', 0, '1', 0, 'x', '-', 's', 'w', 'i', 't', 'c', 'h', 'y', 'a',
                                   'r', 'd', '-', 'i', 'd', 0, 'a', '-', '7', 0};
  const char* value = "";
  const int count = headerOf(*call, ":path", &value);
  require(count <= 2 && (count == 0 || value <= call->headers.data() + call->headers.size()));
  switch (choice % 9) {
    case 0:
      // Cut off anywhere, also within a name.
      connection.answer(*call, kMetadata, choice % (sizeof kMetadata + 1), kBytes, choice * 100u);
      break;
    case 1:
      connection.respond(*call, std::string(":status\000" "200\0grpc-status\0" "3\0", 26), true);
      break;
    case 2:
      connection.respond(*call, std::string(":status\000" "200\0", 12), false);
      connection.write(*call, kBytes, choice);
      break;
    case 3:
      if (call->headersSent && !call->ending) {
        auto* owner = new uint8_t[70000]();
        lent.insert(owner);
        connection.lend(*call, {owner, 70000, owner});
      }
      break;
    case 4:
      if (call->headersSent) connection.finish(*call, std::string("grpc-status\0" "0\0", 14));
      break;
    case 5:
      connection.reset(*call, choice);
      break;
    case 6:
      if (call->stage == Stage::kCollecting) connection.handOver(*call);
      break;
    case 7:
      connection.consume(*call, call->body.size());
      call->body.clear();
      call->dataQueued = false;
      break;
    default:
      break;
  }
}

void appendFrame(std::string& out, uint8_t type, uint8_t flags, uint8_t stream, const std::string& payload) {
  const size_t length = payload.size();
  const char head[9] = {static_cast<char>(length >> 16), static_cast<char>(length >> 8), static_cast<char>(length),
                        static_cast<char>(type), static_cast<char>(flags), 0, 0, 0, static_cast<char>(stream)};
  out.append(head, sizeof head);
  out += payload;
}

/** What an honest client begins with: preface, settings and, with `request`, one call of a method that is served. */
std::string greeting(bool request) {
  std::string out = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  appendFrame(out, 4, 0, 0, "");
  if (!request) return out;
  std::string block("\x83\x86", 2);
  const auto literal = [&block](const std::string& name, const std::string& value) {
    block.push_back('\0');
    block.push_back(static_cast<char>(name.size()));
    block += name;
    block.push_back(static_cast<char>(value.size()));
    block += value;
  };
  literal(":path", "/a.B/Infer");
  literal(":authority", "h");
  literal("content-type", "application/grpc");
  appendFrame(out, 1, 4, 1, block);
  return out;
}

void converse(const uint8_t* data, size_t size, uint8_t mode) {
  static const Http2Rules rules;
  ConnectionLimits limits;
  limits.maxStreams = 16;
  limits.maxCollected = 512;
  Calls calls;
  calls.methods["/a.B/Infer"] = {0, MethodKind::kInfer};
  calls.release = [](void*, void* owner) {
    require(lent.erase(owner) == 1);
    delete[] static_cast<uint8_t*>(owner);
  };
  {
    Connection connection(calls, rules, limits, 0);
    uint64_t now = 0;
    uint64_t sent = 0;
    std::vector<Queued> known;
    // The last eighth of the input says what the server does.
    const size_t spoken = size - size / 8;
    Choices choices{data + spoken, data + size};
    std::string bytes = (mode & 1) != 0 ? greeting((mode & 2) != 0) : "";
    bytes.append(reinterpret_cast<const char*>(data), spoken);
    size_t at = 0;
    while (at < bytes.size()) {
      const size_t part = std::min(bytes.size() - at, static_cast<size_t>((mode & 4) != 0 ? 37 : 4096));
      const std::unique_ptr<uint8_t[]> chunk(new uint8_t[part]);
      std::memcpy(chunk.get(), bytes.data() + at, part);
      at += part;
      now += 3;
      const bool good = connection.receive(chunk.get(), part, now);
      std::vector<Queued> queued;
      queued.swap(calls.queued);
      for (const Queued& told : queued) {
        known.push_back(told);
        act(connection, calls, told, choices.next());
      }
      if (!known.empty()) act(connection, calls, known[choices.next() % known.size()], choices.next());
      connection.produce(65536);
      sent += connection.output.size();
      connection.output.clear();
      if (!good || connection.over()) break;
      if ((mode & 8) != 0) {
        connection.startDrain();
        connection.finishDrain();
      }
      if (!connection.sweep(now, sent)) connection.expel();
    }
    require(connection.openCalls == calls.size());
    // Nobody is owed an answer for ever who takes nothing of it, though he goes on to speak.
    std::string ping;
    appendFrame(ping, 6, 0, 0, "12345678");
    for (int i = 0; i < 400 && calls.unsent > 0; i++) {
      now += 1000;
      const auto* bytes = reinterpret_cast<const uint8_t*>(ping.data());
      const bool good = connection.receive(bytes, ping.size(), now);
      connection.produce(65536);
      sent += connection.output.size();
      connection.output.clear();
      if (!good || connection.over() || !connection.sweep(now, sent)) connection.abandon();
    }
    require(calls.unsent == 0);
  }
  require(calls.size() == 0 && calls.unsent == 0);
  require(lent.empty());
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  require(loadHttp2() == nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  if (data[0] < 0x60) decode(data + 1, size - 1);
  else converse(data + 1, size - 1, data[0]);
  return 0;
}
