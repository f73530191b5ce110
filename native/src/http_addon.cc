// The binding of the HTTP server. Requests are named by slot and generation; one that has ended is passed over in silence.
#include "http_addon.h"

#include <new>
#include <string>

#include "http_delivery.h"
#include "http_server.h"
#include "server_binding.h"

namespace switchyard::http {
namespace {

/** Of each answer: slot, generation, offset, bytes of head and of body, and flags. */
constexpr int kAnswerWords = 6;
constexpr size_t kAnswerBytes = 512 * 1024;
enum AnswerFlag { kClose = 1, kTracked = 2 };

struct Bound final : ServerBinding<Server, Delivery> {
  static constexpr const char* kExpected = "the first argument is an HTTP server";

  explicit Bound(napi_env environment) : ServerBinding(environment, kAnswerWords, kAnswerBytes) {}

  void collect() override {
    answers.collect([this](const int32_t* word) {
      HttpConnection* connection = find(static_cast<uint32_t>(word[0]), static_cast<uint32_t>(word[1]));
      if (connection == nullptr || word[2] < 0 || word[3] < 0 || word[4] < 0) return;
      const auto at = static_cast<size_t>(word[2]);
      const auto head = static_cast<size_t>(word[3]);
      const auto body = static_cast<size_t>(word[4]);
      if (at + head + body > answers.size()) return;
      const uint8_t* const bytes = answers.bytes() + at;
      connection->answer(reinterpret_cast<const char*>(bytes), head, bytes + head, body, (word[5] & kClose) != 0,
                         (word[5] & kTracked) != 0);
      server->sockets().touch(*connection);
    });
  }

  /** The connection whose request it is. */
  HttpConnection* find(uint32_t slot, uint32_t generation) const { return server->exchanges.find(slot, generation); }
};

using Arguments = ServerArguments<Bound>;

/** httpProblem(): string. '' where this process has all that the server needs, else the name of what is missing. */
napi_value problem(napi_env env, napi_callback_info) {
  const char* missing = net::loadLoop();
  return textOf(env, missing == nullptr ? "" : missing);
}

/**
 * httpServer({maxBody, maxHeld, headerMs, keepAliveMs, bytesPerSecond, maxConnections, maxConnectionsPerAddress}, turn):
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
  limits.maxHeld = static_cast<size_t>(numberIn(env, arguments[0], "maxHeld", 0));
  limits.headerMs = static_cast<uint64_t>(numberIn(env, arguments[0], "headerMs", 10000));
  limits.keepAliveMs = static_cast<uint64_t>(numberIn(env, arguments[0], "keepAliveMs", 60000));
  limits.bytesPerSecond = numberIn(env, arguments[0], "bytesPerSecond", 1024);

  napi_value result;
  napi_value words;
  napi_value block;
  auto* bound = new (std::nothrow) Bound(env);
  if (bound == nullptr || napi_create_object(env, &result) != napi_ok || !bound->answers.share(env, result)) return nullptr;
  const Listener listener{bound, [](void* context) { static_cast<Bound*>(context)->delivery->run(); },
                          [](void* context) { static_cast<Bound*>(context)->collect(); }};
  bound->server = new Server(loop, limits, socketLimitsOf(env, arguments[0]), listener);
  bound->delivery = new Delivery(env, bound->server->exchanges);
  const bool made = bound->attach(result) && bound->delivery->prepare(arguments[1], &words, &block) &&
                    napi_set_named_property(env, result, "words", words) == napi_ok &&
                    napi_set_named_property(env, result, "block", block) == napi_ok;
  if (made) return result;
  bound->close();
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
  const std::string host = arguments.text(1);
  return numberOf(env, arguments.bound->server->sockets().listen(host.c_str(), arguments.number(2), arguments.flag(3)));
}

/** httpAnswer(server, slot, generation, head, body, flags): a whole answer. 1: closes, 2: its leaving is told. */
napi_value answer(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  HttpConnection* connection = arguments.target();
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
  HttpConnection* connection = arguments.target();
  if (connection == nullptr) return nullptr;
  const auto head = arguments.bytes(3);
  connection->startStream(reinterpret_cast<const char*>(head.at), head.length, (arguments.number(4) & kClose) != 0);
  arguments.bound->server->sockets().touch(*connection);
  return nullptr;
}

/** httpWrite(server, slot, generation, bytes): 0, or how many have not left: then it is told when they have. */
napi_value write(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  HttpConnection* connection = arguments.target();
  if (connection == nullptr) return numberOf(env, 0);
  const auto bytes = arguments.bytes(3);
  const size_t unsent = connection->write(bytes.at, bytes.length);
  arguments.bound->server->sockets().touch(*connection);
  return numberOf(env, static_cast<double>(unsent));
}

/** httpEnd(server, slot, generation): ends the answer in pieces; its leaving is told. */
napi_value end(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  HttpConnection* connection = arguments.target();
  if (connection == nullptr) return nullptr;
  connection->endStream();
  arguments.bound->server->sockets().touch(*connection);
  return nullptr;
}

/** httpDestroy(server, slot, generation): cuts the connection. */
napi_value destroy(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  HttpConnection* connection = arguments.target();
  if (connection == nullptr) return nullptr;
  connection->destroy();
  arguments.bound->server->sockets().touch(*connection);
  return nullptr;
}

/** httpHead(server, slot, generation): the head as it came, while the request is not answered, else ''. */
napi_value head(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const HttpConnection* connection = arguments.target();
  const bool known = connection != nullptr && connection->expects();
  return textOf(env, known ? std::string(connection->headText(), connection->headLength()) : std::string());
}

/**
 * httpAsk(server, name, unalike): the place under which each request tells of this header, from the next head that is read
 * on; -1: there is no room for more names. `name` is in lower case. `unalike`: its values get no numbers.
 */
napi_value ask(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  return numberOf(env, arguments ? arguments.bound->server->exchanges.asked.add(arguments.text(1), arguments.flag(2)) : -1);
}

/** httpPeer(server, slot, generation): the client's address. */
napi_value peer(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const HttpConnection* connection = arguments.target();
  return textOf(env, connection == nullptr ? std::string() : arguments.bound->server->sockets().peer(*connection));
}

/** httpCertificateName(server, slot, generation): the common name of the client's verified certificate, else ''. */
napi_value certificateName(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const HttpConnection* connection = arguments.target();
  return utf8Of(
      env, connection == nullptr ? std::string() : arguments.bound->server->sockets().certificateName(*connection));
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
  if (arguments) arguments.bound->close();
  return nullptr;
}

}  // namespace

bool exportServer(napi_env env, napi_value exports) {
  return exportFunctions(env, exports,
                         {{"httpProblem", problem}, {"httpServer", create}, {"httpSecure", secure}, {"httpListen", listen},
                          {"httpAnswer", answer}, {"httpStream", stream}, {"httpWrite", write}, {"httpEnd", end},
                          {"httpDestroy", destroy}, {"httpHead", head}, {"httpAsk", ask}, {"httpPeer", peer}, {"httpFlush", flush},
                          {"httpStop", stop}, {"httpSending", sending}, {"httpClose", close},
                          {"httpCertificateName", certificateName}});
}

}  // namespace switchyard::http
