// The binding of the HTTP server. Requests are named by slot and generation; one that has ended is passed over in silence.
#include "http_addon.h"

#include <new>
#include <string>

#include "http_delivery.h"
#include "http_server.h"
#include "values.h"

namespace switchyard::http {
namespace {

/** Answers since the last turn: a count, then slot, generation, offset, bytes of head and of body, and flags of each. */
constexpr int kAnswerWords = 6;
constexpr int kMaxAnswers = 1024;
constexpr size_t kAnswerBytes = 512 * 1024;
enum AnswerFlag { kClose = 1, kTracked = 2 };

struct Bound {
  explicit Bound(napi_env environment) : env(environment) {}
  ~Bound() { delete delivery; }

  napi_env env;
  Server* server = nullptr;
  Delivery* delivery = nullptr;
  napi_async_cleanup_hook_handle cleanup = nullptr;
  int32_t* answers = nullptr;
  uint8_t* answerBytes = nullptr;
  napi_ref answersRef = nullptr;
  napi_ref answerBytesRef = nullptr;
  /** JavaScript holds one, the sockets and handles of the loop the other. */
  int holders = 2;

  /** Hands the answers that lie ready to their connections. */
  void collect() {
    const int32_t count = answers[0];
    answers[0] = 0;
    for (int32_t i = 0; i < count && i < kMaxAnswers; i++) {
      const int32_t* word = answers + 1 + i * kAnswerWords;
      HttpConnection* connection =
          server->exchanges.find(static_cast<uint32_t>(word[0]), static_cast<uint32_t>(word[1]));
      if (connection == nullptr || word[2] < 0 || word[3] < 0 || word[4] < 0) continue;
      const auto at = static_cast<size_t>(word[2]);
      const auto head = static_cast<size_t>(word[3]);
      const auto body = static_cast<size_t>(word[4]);
      if (at + head + body > kAnswerBytes) continue;
      connection->answer(reinterpret_cast<const char*>(answerBytes) + at, head, answerBytes + at + head, body,
                         (word[5] & kClose) != 0, (word[5] & kTracked) != 0);
      server->sockets().touch(*connection);
    }
  }

  void letGo() {
    if (--holders == 0) delete this;
  }
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
    if (bound == nullptr) napi_throw_type_error(env, nullptr, "the first argument is an HTTP server");
    else if (bound->server == nullptr) bound = nullptr;
  }

  explicit operator bool() const { return bound != nullptr; }

  int32_t number(size_t index) const {
    int32_t value = 0;
    if (index < count) napi_get_value_int32(env, values[index], &value);
    return value;
  }

  struct Bytes {
    const uint8_t* at = nullptr;
    size_t length = 0;
  };

  /** Of a Uint8Array; none of anything else. */
  Bytes bytes(size_t index) const {
    napi_typedarray_type type;
    size_t length = 0;
    void* data = nullptr;
    if (index >= count ||
        napi_get_typedarray_info(env, values[index], &type, &length, &data, nullptr, nullptr) != napi_ok ||
        type != napi_uint8_array) {
      return {};
    }
    return {static_cast<const uint8_t*>(data), length};
  }

  /** The connection whose request the two arguments behind the server name. */
  HttpConnection* connection() const {
    if (bound == nullptr) return nullptr;
    return bound->server->exchanges.find(static_cast<uint32_t>(number(1)), static_cast<uint32_t>(number(2)));
  }
};

void onServerClosed(void* context) {
  auto* bound = static_cast<Bound*>(context);
  for (napi_ref* ref : {&bound->answersRef, &bound->answerBytesRef}) {
    if (*ref != nullptr) napi_delete_reference(bound->env, *ref);
    *ref = nullptr;
  }
  bound->delivery->dispose();
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

/** httpProblem(): string. '' where this process has all that the server needs, else the name of what is missing. */
napi_value problem(napi_env env, napi_callback_info) {
  const char* missing = net::loadLoop();
  return textOf(env, missing == nullptr ? "" : missing);
}

/**
 * httpServer({maxBody, headerMs, keepAliveMs, bodyBytesPerSecond, maxConnections, maxConnectionsPerAddress}, turn):
 * {server, words, block, answers, answerBytes}. To be called only where httpProblem() is ''.
 */
napi_value create(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  net::UvLoop* loop = nullptr;
  if (napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr) != napi_ok || count < 2) return nullptr;
  if (napi_get_uv_event_loop(env, reinterpret_cast<uv_loop_s**>(&loop)) != napi_ok) return nullptr;
  HttpLimits limits;
  limits.maxBody = static_cast<size_t>(numberIn(env, arguments[0], "maxBody", 0));
  limits.headerMs = static_cast<uint64_t>(numberIn(env, arguments[0], "headerMs", 10000));
  limits.keepAliveMs = static_cast<uint64_t>(numberIn(env, arguments[0], "keepAliveMs", 60000));
  limits.bodyBytesPerSecond = numberIn(env, arguments[0], "bodyBytesPerSecond", 1024);
  net::SocketLimits sockets;
  sockets.maxConnections = static_cast<size_t>(numberIn(env, arguments[0], "maxConnections", 10000));
  sockets.maxConnectionsPerAddress =
      static_cast<size_t>(numberIn(env, arguments[0], "maxConnectionsPerAddress", 4096));

  napi_value result;
  napi_value external;
  napi_value words;
  napi_value block;
  auto* bound = new (std::nothrow) Bound(env);
  if (bound == nullptr || napi_create_object(env, &result) != napi_ok || !shareMemory(env, result, *bound)) return nullptr;
  const Listener listener{bound, [](void* context) { static_cast<Bound*>(context)->delivery->run(); },
                          [](void* context) { static_cast<Bound*>(context)->collect(); }};
  bound->server = new Server(loop, limits, sockets, listener);
  bound->delivery = new Delivery(env, bound->server->exchanges);
  napi_add_async_cleanup_hook(
      env, [](napi_async_cleanup_hook_handle, void* data) { closeServer(static_cast<Bound*>(data)); }, bound,
      &bound->cleanup);
  const auto finalize = [](napi_env, void* data, void*) { static_cast<Bound*>(data)->letGo(); };
  const bool made = napi_create_external(env, bound, finalize, nullptr, &external) == napi_ok &&
                    bound->delivery->prepare(arguments[1], &words, &block) &&
                    napi_set_named_property(env, result, "server", external) == napi_ok &&
                    napi_set_named_property(env, result, "words", words) == napi_ok &&
                    napi_set_named_property(env, result, "block", block) == napi_ok;
  if (made) return result;
  closeServer(bound);
  return nullptr;
}

/** httpSecure(server, options): as grpcSecure. */
napi_value secure(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  if (!arguments || arguments.count < 2) return nullptr;
  net::TlsOptions options = tlsOptionsOf(env, arguments.values[1]);
  options.http2 = false;
  return textOf(env, arguments.bound->server->sockets().secure(options));
}

/** httpListen(server, host, port, shared): the port, or the negative number of the system's error. */
napi_value listen(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  if (!arguments) return nullptr;
  char host[256] = "";
  bool shared = false;
  if (arguments.count < 4) return nullptr;
  napi_get_value_string_latin1(env, arguments.values[1], host, sizeof host, nullptr);
  napi_get_value_bool(env, arguments.values[3], &shared);
  return numberOf(env, arguments.bound->server->sockets().listen(host, arguments.number(2), shared));
}

/** httpAnswer(server, slot, generation, head, body, flags): a whole answer. 1: closes, 2: its leaving is told. */
napi_value answer(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  HttpConnection* connection = arguments.connection();
  if (connection == nullptr) return nullptr;
  const auto head = arguments.bytes(3);
  const auto body = arguments.bytes(4);
  const int32_t flags = arguments.number(5);
  connection->answer(reinterpret_cast<const char*>(head.at), head.length, body.at, body.length, (flags & kClose) != 0,
                     (flags & kTracked) != 0);
  arguments.bound->server->sockets().touch(*connection);
  return nullptr;
}

/** httpStream(server, slot, generation, head, flags): begins an answer in pieces. */
napi_value stream(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  HttpConnection* connection = arguments.connection();
  if (connection == nullptr) return nullptr;
  const auto head = arguments.bytes(3);
  connection->startStream(reinterpret_cast<const char*>(head.at), head.length, (arguments.number(4) & kClose) != 0);
  arguments.bound->server->sockets().touch(*connection);
  return nullptr;
}

/** httpWrite(server, slot, generation, bytes): 0, or how many have not left: then it is told when they have. */
napi_value write(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  HttpConnection* connection = arguments.connection();
  if (connection == nullptr) return numberOf(env, 0);
  const auto bytes = arguments.bytes(3);
  const size_t unsent = connection->write(bytes.at, bytes.length);
  arguments.bound->server->sockets().touch(*connection);
  return numberOf(env, static_cast<double>(unsent));
}

/** httpEnd(server, slot, generation): ends the answer in pieces; its leaving is told. */
napi_value end(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  HttpConnection* connection = arguments.connection();
  if (connection == nullptr) return nullptr;
  connection->endStream();
  arguments.bound->server->sockets().touch(*connection);
  return nullptr;
}

/** httpDestroy(server, slot, generation): cuts the connection. */
napi_value destroy(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  HttpConnection* connection = arguments.connection();
  if (connection == nullptr) return nullptr;
  connection->destroy();
  arguments.bound->server->sockets().touch(*connection);
  return nullptr;
}

/** httpHead(server, slot, generation): the head as it came, while the request is not answered, else ''. */
napi_value head(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const HttpConnection* connection = arguments.connection();
  const bool known = connection != nullptr && connection->expects();
  return textOf(env, known ? std::string(connection->headText(), connection->headLength()) : std::string());
}

/** httpPeer(server, slot, generation): the client's address. */
napi_value peer(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const HttpConnection* connection = arguments.connection();
  return textOf(env, connection == nullptr ? std::string() : arguments.bound->server->sockets().peer(*connection));
}

/** httpCertificateName(server, slot, generation): the common name of the client's verified certificate, else ''. */
napi_value certificateName(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const HttpConnection* connection = arguments.connection();
  const std::string name =
      connection == nullptr ? std::string() : arguments.bound->server->sockets().certificateName(*connection);
  napi_value out = nullptr;
  napi_create_string_utf8(env, name.data(), name.size(), &out);
  return out;
}

/** httpFlush(server): takes the answers that lie ready, so that there is room for more. */
napi_value flush(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  if (arguments) arguments.bound->collect();
  return nullptr;
}

/** httpStop(server): closes the listening socket. */
napi_value stop(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  if (arguments) arguments.bound->server->sockets().stopAccepting();
  return nullptr;
}

/** httpSending(server): how many connections have bytes that have not left. */
napi_value sending(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  return numberOf(env, arguments ? static_cast<double>(arguments.bound->server->sockets().sending()) : 0);
}

/** httpClose(server): the server must not be used any more, but asking a closed one does nothing. */
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
  } functions[] = {{"httpProblem", problem}, {"httpServer", create},   {"httpSecure", secure},
                   {"httpListen", listen},   {"httpAnswer", answer},   {"httpStream", stream},
                   {"httpWrite", write},     {"httpEnd", end},         {"httpDestroy", destroy},
                   {"httpHead", head},       {"httpPeer", peer},       {"httpCertificateName", certificateName},
                   {"httpFlush", flush},     {"httpStop", stop},       {"httpSending", sending},
                   {"httpClose", close}};
  for (const auto& [name, callback] : functions) {
    napi_value function;
    if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function) != napi_ok) return false;
    if (napi_set_named_property(env, exports, name, function) != napi_ok) return false;
  }
  return true;
}

}  // namespace switchyard::http
