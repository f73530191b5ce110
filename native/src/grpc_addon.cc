// The binding of the gRPC server. Calls are named by slot and generation; one that has ended is passed over in silence.
#include "grpc_addon.h"

#include <cstring>
#include <new>
#include <string>

#include "grpc_delivery.h"
#include "grpc_server.h"
#include "values.h"

namespace switchyard::grpc {
namespace {

/** Answers that JavaScript has written since the last turn: a count, then slot, generation, offset and length of each. */
constexpr int kAnswerWords = 4;
constexpr int kMaxAnswers = 1024;
constexpr size_t kAnswerBytes = 256 * 1024;
/** A call with more unsent bytes lags: its writer is told when they have left. */
constexpr size_t kLag = 64 * 1024;

struct Bound {
  explicit Bound(napi_env environment) : env(environment) {}
  ~Bound() { delete delivery; }

  napi_env env;
  Server* server = nullptr;
  Delivery* delivery = nullptr;
  napi_ref drained = nullptr;
  napi_async_cleanup_hook_handle cleanup = nullptr;
  int32_t* answers = nullptr;
  uint8_t* answerBytes = nullptr;
  napi_ref answersRef = nullptr;
  napi_ref answerBytesRef = nullptr;

  /** Hands the answers that lie ready to their connections. */
  void collect() {
    const int32_t count = answers[0];
    answers[0] = 0;
    for (int32_t i = 0; i < count && i < kMaxAnswers; i++) {
      const int32_t* word = answers + 1 + i * kAnswerWords;
      Call* call = server->calls.find(static_cast<uint32_t>(word[0]), static_cast<uint32_t>(word[1]));
      if (call == nullptr || word[2] < 0 || word[3] < 0) continue;
      if (static_cast<size_t>(word[2]) + static_cast<size_t>(word[3]) > kAnswerBytes) continue;
      call->connection->answer(*call, answerBytes + word[2], static_cast<size_t>(word[3]));
      server->touch(*call->connection);
    }
  }

  void releaseAll() {
    for (napi_ref* ref : {&drained, &answersRef, &answerBytesRef}) {
      if (*ref != nullptr) napi_delete_reference(env, *ref);
      *ref = nullptr;
    }
    delivery->dispose();
  }

  /** JavaScript holds one, the sockets and handles of the loop the other. */
  void letGo() {
    if (--holders == 0) delete this;
  }

  int holders = 2;
};

/** The arguments of one call into the addon. The first one is the server. */
struct Arguments {
  napi_env env;
  napi_value values[6];
  size_t count = 6;
  Bound* bound = nullptr;

  Arguments(napi_env environment, napi_callback_info info) : env(environment) {
    void* data = nullptr;
    if (napi_get_cb_info(env, info, &count, values, nullptr, nullptr) != napi_ok || count == 0) return;
    if (napi_get_value_external(env, values[0], &data) == napi_ok) bound = static_cast<Bound*>(data);
    if (bound == nullptr) napi_throw_type_error(env, nullptr, "the first argument is a gRPC server");
    else if (bound->server == nullptr) bound = nullptr;
  }

  explicit operator bool() const { return bound != nullptr; }

  int32_t number(size_t index) const {
    int32_t value = 0;
    if (index < count) napi_get_value_int32(env, values[index], &value);
    return value;
  }

  bool flag(size_t index) const {
    bool value = false;
    if (index < count) napi_get_value_bool(env, values[index], &value);
    return value;
  }

  /** A string of Latin-1 characters, '' where it is none. */
  std::string text(size_t index) const {
    size_t length = 0;
    std::string out;
    if (index >= count || napi_get_value_string_latin1(env, values[index], nullptr, 0, &length) != napi_ok) return out;
    out.resize(length + 1);
    napi_get_value_string_latin1(env, values[index], &out[0], length + 1, &length);
    out.resize(length);
    return out;
  }

  /** The call named by the two arguments behind the server. */
  Call* call() const {
    return bound->server->calls.find(static_cast<uint32_t>(number(1)), static_cast<uint32_t>(number(2)));
  }
};

void onServerClosed(void* context) {
  auto* bound = static_cast<Bound*>(context);
  bound->releaseAll();
  // The hook's removal also tells a thread that ends that it need not wait for this server any more.
  if (bound->cleanup != nullptr) napi_remove_async_cleanup_hook(bound->cleanup);
  bound->cleanup = nullptr;
  bound->letGo();
}

void closeServer(Bound* bound) {
  if (bound->server == nullptr) return;
  Server* server = bound->server;
  bound->server = nullptr;
  server->close(onServerClosed, bound);
}

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

bool shareMemory(napi_env env, napi_value object, Bound& bound) {
  napi_value buffer;
  napi_value view;
  void* data = nullptr;
  const size_t words = 1 + static_cast<size_t>(kMaxAnswers) * kAnswerWords;
  if (napi_create_arraybuffer(env, words * sizeof(int32_t), &data, &buffer) != napi_ok) return false;
  bound.answers = static_cast<int32_t*>(data);
  if (napi_create_reference(env, buffer, 1, &bound.answersRef) != napi_ok) return false;
  if (napi_create_typedarray(env, napi_int32_array, words, buffer, 0, &view) != napi_ok) return false;
  if (napi_set_named_property(env, object, "answers", view) != napi_ok) return false;
  if (napi_create_arraybuffer(env, kAnswerBytes, &data, &buffer) != napi_ok) return false;
  bound.answerBytes = static_cast<uint8_t*>(data);
  if (napi_create_reference(env, buffer, 1, &bound.answerBytesRef) != napi_ok) return false;
  return napi_set_named_property(env, object, "answerBytes", buffer) == napi_ok;
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
  options.sockets.maxConnections = static_cast<size_t>(numberIn(env, arguments[0], "maxConnections", 10000));
  options.sockets.maxConnectionsPerAddress =
      static_cast<size_t>(numberIn(env, arguments[0], "maxConnectionsPerAddress", 4096));

  napi_value result;
  napi_value external;
  napi_value words;
  auto* bound = new (std::nothrow) Bound(env);
  if (bound == nullptr || napi_create_object(env, &result) != napi_ok || !shareMemory(env, result, *bound)) return nullptr;
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
  napi_add_async_cleanup_hook(
      env, [](napi_async_cleanup_hook_handle, void* data) { closeServer(static_cast<Bound*>(data)); }, bound,
      &bound->cleanup);
  const auto finalize = [](napi_env, void* data, void*) { static_cast<Bound*>(data)->letGo(); };
  const bool made = napi_create_external(env, bound, finalize, nullptr, &external) == napi_ok &&
                    napi_create_reference(env, arguments[2], 1, &bound->drained) == napi_ok &&
                    bound->delivery->prepare(arguments[1], &words) &&
                    napi_set_named_property(env, result, "server", external) == napi_ok &&
                    napi_set_named_property(env, result, "words", words) == napi_ok;
  if (made) return result;
  closeServer(bound);
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
  Call* call = arguments ? arguments.call() : nullptr;
  if (call == nullptr) return nullptr;
  call->connection->respond(*call, arguments.text(3), arguments.flag(4));
  arguments.bound->server->touch(*call->connection);
  return nullptr;
}

/** grpcWrite(server, slot, generation, bytes): how many bytes have not left; `bytes` must not change until they have. */
napi_value write(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Call* call = arguments ? arguments.call() : nullptr;
  if (call == nullptr || arguments.count < 4) return numberOf(env, 0);
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, arguments.values[3], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array) {
    napi_throw_type_error(env, nullptr, "grpcWrite takes a Uint8Array");
    return nullptr;
  }
  if (length <= kLag && call->borrowed.empty()) {
    call->connection->write(*call, static_cast<uint8_t*>(data), length);
  } else {
    napi_ref keeper = nullptr;
    if (napi_create_reference(env, arguments.values[3], 1, &keeper) != napi_ok) return numberOf(env, 0);
    call->connection->lend(*call, {static_cast<uint8_t*>(data), length, keeper});
  }
  if (call->unsent > kLag) call->wantsDrain = true;
  arguments.bound->server->touch(*call->connection);
  return numberOf(env, static_cast<double>(call->unsent));
}

/** grpcEnd(server, slot, generation, trailers, bare): '' is status OK; with `bare`, there are no trailers at all. */
napi_value end(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Call* call = arguments ? arguments.call() : nullptr;
  if (call == nullptr) return nullptr;
  call->connection->finish(*call, arguments.text(3), arguments.flag(4));
  arguments.bound->server->touch(*call->connection);
  return nullptr;
}

/** grpcReset(server, slot, generation, code) */
napi_value reset(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Call* call = arguments ? arguments.call() : nullptr;
  if (call == nullptr) return nullptr;
  call->connection->reset(*call, static_cast<uint32_t>(arguments.number(3)));
  arguments.bound->server->touch(*call->connection);
  return nullptr;
}

/** grpcConsume(server, slot, generation, bytes): so much of an open call was read, so much more may come. */
napi_value consume(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Call* call = arguments ? arguments.call() : nullptr;
  if (call == nullptr) return nullptr;
  call->connection->consume(*call, static_cast<size_t>(arguments.number(3)));
  arguments.bound->server->touch(*call->connection);
  return nullptr;
}

/** grpcHeaders(server, slot, generation): name NUL value NUL …, '' for a call that has ended. */
napi_value headers(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const Call* call = arguments ? arguments.call() : nullptr;
  return textOf(env, call == nullptr ? std::string() : call->headers);
}

/** grpcPeer(server, slot, generation): the client's address. */
napi_value peer(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const Call* call = arguments ? arguments.call() : nullptr;
  return textOf(env, call == nullptr ? std::string() : arguments.bound->server->sockets().peer(*call->connection));
}

/** grpcCertificateName(server, slot, generation): the common name of the client's verified certificate, else ''. */
napi_value certificateName(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const Call* call = arguments ? arguments.call() : nullptr;
  const std::string name = call == nullptr ? std::string() : arguments.bound->server->sockets().certificateName(*call->connection);
  napi_value out = nullptr;
  napi_create_string_utf8(env, name.data(), name.size(), &out);
  return out;
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
  if (arguments) closeServer(arguments.bound);
  return nullptr;
}

}  // namespace

bool exportServer(napi_env env, napi_value exports) {
  const struct {
    const char* name;
    napi_callback callback;
  } functions[] = {{"grpcProblem", problem}, {"grpcServer", create},   {"grpcMethod", method}, {"grpcListen", listen},
                   {"grpcRespond", respond}, {"grpcWrite", write},     {"grpcEnd", end},       {"grpcReset", reset},
                   {"grpcConsume", consume}, {"grpcHeaders", headers}, {"grpcPeer", peer},     {"grpcFlush", flush},
                   {"grpcDrain", drain},     {"grpcClose", close},
                   {"grpcTlsProblem", tlsProblem},
                   {"grpcSecure", secure},
                   {"grpcCertificateName", certificateName}};
  for (const auto& [name, callback] : functions) {
    napi_value function;
    if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function) != napi_ok) return false;
    if (napi_set_named_property(env, exports, name, function) != napi_ok) return false;
  }
  return true;
}

}  // namespace switchyard::grpc
