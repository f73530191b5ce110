// The binding of the gRPC server. Calls are named by slot and generation; one that has ended is passed over in silence.
#include "grpc_addon.h"

#include <new>
#include <string>

#include "grpc_delivery.h"
#include "grpc_server.h"
#include "server_binding.h"

namespace switchyard::grpc {
namespace {

/** Of each answer: slot, generation, offset, length of the frame, and of the metadata before it. */
constexpr int kAnswerWords = 5;
constexpr size_t kAnswerBytes = 256 * 1024;
/** A call with more unsent bytes lags: its writer is told when they have left. */
constexpr size_t kLag = 64 * 1024;

struct Bound final : ServerBinding<Server, Delivery> {
  static constexpr const char* kExpected = "the first argument is a gRPC server";

  explicit Bound(napi_env environment) : ServerBinding(environment, kAnswerWords, kAnswerBytes) {}

  napi_ref drained = nullptr;

  void collect() override {
    answers.collect([this](const int32_t* word) {
      Call* call = find(static_cast<uint32_t>(word[0]), static_cast<uint32_t>(word[1]));
      if (call == nullptr || word[2] < 0 || word[3] < 0 || word[4] < 0) return;
      const auto at = static_cast<size_t>(word[2]);
      const auto frame = static_cast<size_t>(word[3]);
      const auto metadata = static_cast<size_t>(word[4]);
      if (at + metadata + frame > answers.size()) return;
      const uint8_t* const bytes = answers.bytes() + at;
      call->connection->answer(*call, reinterpret_cast<const char*>(bytes), metadata, bytes + metadata, frame);
      server->touch(*call->connection);
    });
  }

  Call* find(uint32_t slot, uint32_t generation) const { return server->calls.find(slot, generation); }

 private:
  void release() override {
    if (drained != nullptr) napi_delete_reference(env, drained);
    drained = nullptr;
    ServerBinding::release();
  }
};

using Arguments = ServerArguments<Bound>;

void callDrained(void* context) {
  auto* bound = static_cast<Bound*>(context);
  napi_handle_scope scope;
  napi_value function;
  napi_value global;
  napi_value result;
  if (napi_open_handle_scope(bound->env, &scope) != napi_ok) return;
  napi_get_reference_value(bound->env, bound->drained, &function);
  napi_get_global(bound->env, &global);
  napi_make_callback(bound->env, nullptr, global, function, 0, nullptr, &result);
  napi_close_handle_scope(bound->env, scope);
}

/** grpcProblem(): string. '' where this process has all that the server needs, else the name of what is missing. */
napi_value problem(napi_env env, napi_callback_info) {
  const char* missing = loadHttp2();
  if (missing == nullptr) missing = loadLoop();
  return textOf(env, missing == nullptr ? "" : missing);
}

/** grpcTlsProblem(): string. The same for servers with TLS, of what they need besides. */
napi_value tlsProblem(napi_env env, napi_callback_info) {
  const char* missing = loadOpenSsl();
  return textOf(env, missing == nullptr ? "" : missing);
}

/**
 * grpcServer({maxStreams, maxCollected, maxConnections, maxConnectionsPerAddress}, turn, drained):
 * {server, words, answers, answerBytes}. To be called only where grpcProblem() is ''.
 */
napi_value create(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  UvLoop* loop = nullptr;
  if (napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr) != napi_ok || count < 3) return nullptr;
  if (napi_get_uv_event_loop(env, reinterpret_cast<uv_loop_s**>(&loop)) != napi_ok) return nullptr;
  ServerOptions options;
  options.connection.maxStreams = static_cast<uint32_t>(numberIn(env, arguments[0], "maxStreams", 1024));
  options.connection.maxCollected = static_cast<size_t>(numberIn(env, arguments[0], "maxCollected", 256 * 1024));
  options.sockets = socketLimitsOf(env, arguments[0]);

  napi_value result;
  napi_value words;
  auto* bound = new (std::nothrow) Bound(env);
  if (bound == nullptr || napi_create_object(env, &result) != napi_ok || !bound->answers.share(env, result)) return nullptr;
  const Listener listener{bound,
                          [](void* context) {
                            auto* self = static_cast<Bound*>(context);
                            self->delivery->run(self->server->now());
                          },
                          callDrained, [](void* context) { static_cast<Bound*>(context)->collect(); }};
  bound->server = new Server(loop, options, listener);
  bound->server->calls.releaseContext = bound;
  bound->server->calls.release = [](void* context, void* owner) {
    napi_delete_reference(static_cast<Bound*>(context)->env, static_cast<napi_ref>(owner));
  };
  bound->delivery = new Delivery(env, bound->server->calls);
  const bool made = bound->attach(result) && napi_create_reference(env, arguments[2], 1, &bound->drained) == napi_ok &&
                    bound->delivery->prepare(arguments[1], &words) &&
                    napi_set_named_property(env, result, "words", words) == napi_ok;
  if (made) return result;
  bound->close();
  return nullptr;
}

/**
 * grpcSecure(server, {cert, key, ca, clients, ciphers, suites, minVersion, maxVersion, sessionContext}): '', or what is
 * wrong with them. clients: 0 none, 1 asked for a certificate, 2 refused without. Only where grpcTlsProblem() is ''.
 */
napi_value secure(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  if (!arguments || arguments.count < 2) return nullptr;
  return textOf(env, arguments.bound->server->sockets().secure(tlsOptionsOf(env, arguments.values[1])));
}

/** grpcMethod(server, path, id, kind): a path whose messages are told whole. kind: 1 unary, 2 ModelInfer. */
napi_value method(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  if (!arguments) return nullptr;
  const MethodKind kind = arguments.number(3) == 2 ? MethodKind::kInfer : MethodKind::kUnary;
  arguments.bound->server->calls.methods[arguments.text(1)] = {arguments.number(2), kind};
  return nullptr;
}

/** grpcListen(server, host, port, shared): the port, or the negative number of the system's error. */
napi_value listen(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  if (!arguments) return nullptr;
  const std::string name = arguments.text(1);
  return numberOf(env, arguments.bound->server->sockets().listen(name.c_str(), arguments.number(2), arguments.flag(3)));
}

/** grpcRespond(server, slot, generation, headers, end) */
napi_value respond(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Call* call = arguments.target();
  if (call == nullptr) return nullptr;
  call->connection->respond(*call, arguments.text(3), arguments.flag(4));
  arguments.bound->server->touch(*call->connection);
  return nullptr;
}

/** grpcWrite(server, slot, generation, bytes): how many bytes have not left; `bytes` must not change until they have. */
napi_value write(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Call* call = arguments.target();
  if (call == nullptr || arguments.count < 4) return numberOf(env, 0);
  const auto [data, length, given] = arguments.bytes(3);
  if (!given) {
    napi_throw_type_error(env, nullptr, "grpcWrite takes a Uint8Array");
    return nullptr;
  }
  if (length <= kLag && call->borrowed.empty()) {
    call->connection->write(*call, data, length);
  } else {
    napi_ref keeper = nullptr;
    if (napi_create_reference(env, arguments.values[3], 1, &keeper) != napi_ok) return numberOf(env, 0);
    call->connection->lend(*call, {data, length, keeper});
  }
  if (call->unsent > kLag) call->wantsDrain = true;
  arguments.bound->server->touch(*call->connection);
  return numberOf(env, static_cast<double>(call->unsent));
}

/** grpcEnd(server, slot, generation, trailers, bare): '' is status OK; with `bare`, there are no trailers at all. */
napi_value end(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Call* call = arguments.target();
  if (call == nullptr) return nullptr;
  call->connection->finish(*call, arguments.text(3), arguments.flag(4));
  arguments.bound->server->touch(*call->connection);
  return nullptr;
}

/** grpcReset(server, slot, generation, code) */
napi_value reset(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Call* call = arguments.target();
  if (call == nullptr) return nullptr;
  call->connection->reset(*call, static_cast<uint32_t>(arguments.number(3)));
  arguments.bound->server->touch(*call->connection);
  return nullptr;
}

/** grpcConsume(server, slot, generation, bytes): so much of an open call was read, so much more may come. */
napi_value consume(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Call* call = arguments.target();
  if (call == nullptr) return nullptr;
  call->connection->consume(*call, static_cast<size_t>(arguments.number(3)));
  arguments.bound->server->touch(*call->connection);
  return nullptr;
}

/** grpcHeaders(server, slot, generation): name NUL value NUL …, '' for a call that has ended. */
napi_value headers(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const Call* call = arguments.target();
  return textOf(env, call == nullptr ? std::string() : call->headers);
}

/** grpcHeader(server, slot, generation, name): its value, '' for none; undefined where it came more than once. */
napi_value header(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const Call* call = arguments.target();
  const char* value = "";
  if (call != nullptr && headerOf(*call, arguments.text(3), &value) > 1) return nullptr;
  return textOf(env, value);
}

/** grpcPeer(server, slot, generation): the client's address. */
napi_value peer(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const Call* call = arguments.target();
  return textOf(env, call == nullptr ? std::string() : arguments.bound->server->sockets().peer(*call->connection));
}

/** grpcCertificateName(server, slot, generation): the common name of the client's verified certificate, else ''. */
napi_value certificateName(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const Call* call = arguments.target();
  return utf8Of(
      env, call == nullptr ? std::string() : arguments.bound->server->sockets().certificateName(*call->connection));
}

/** grpcFlush(server): takes the answers that lie ready, so that there is room for more. */
napi_value flush(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  if (arguments) arguments.bound->collect();
  return nullptr;
}

/** grpcDrain(server): how many connections are left; 0: `drained` will not be called. */
napi_value drain(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  return numberOf(env, arguments ? static_cast<double>(arguments.bound->server->sockets().startDrain()) : 0);
}

/** grpcClose(server): the server must not be used any more, but asking a closed one does nothing. */
napi_value close(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  if (arguments) arguments.bound->close();
  return nullptr;
}

}  // namespace

bool exportServer(napi_env env, napi_value exports) {
  return exportFunctions(env, exports,
                         {{"grpcProblem", problem}, {"grpcServer", create}, {"grpcMethod", method}, {"grpcListen", listen},
                          {"grpcRespond", respond}, {"grpcWrite", write}, {"grpcEnd", end}, {"grpcReset", reset},
                          {"grpcConsume", consume}, {"grpcHeaders", headers}, {"grpcHeader", header}, {"grpcPeer", peer}, {"grpcFlush", flush},
                          {"grpcDrain", drain}, {"grpcClose", close}, {"grpcTlsProblem", tlsProblem}, {"grpcSecure", secure},
                          {"grpcCertificateName", certificateName}});
}

}  // namespace switchyard::grpc
