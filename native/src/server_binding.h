// What the bindings of the servers have in common: a server's life beside JavaScript's, the arguments of calls into the
// addon, and the answers that lie ready in memory which both sides see.
#pragma once

#include <node_api.h>

#include <string>

#include "socket_server.h"
#include "tls.h"
#include "values.h"

namespace switchyard {

/** Answers that JavaScript has left since the last turn: a count and so many words for each, and a block with their bytes. */
class AnswerBoard {
 public:
  AnswerBoard(int wordsEach, size_t bytes) : wordsEach_(wordsEach), size_(bytes) {}

  /** Makes the memory: `answers` and `answerBytes` of the object. */
  bool share(napi_env env, napi_value object) {
    napi_value buffer;
    napi_value view;
    void* data = nullptr;
    const size_t words = 1 + static_cast<size_t>(kMost) * wordsEach_;
    if (napi_create_arraybuffer(env, words * sizeof(int32_t), &data, &buffer) != napi_ok) return false;
    words_ = static_cast<int32_t*>(data);
    if (napi_create_reference(env, buffer, 1, &wordsRef_) != napi_ok) return false;
    if (napi_create_typedarray(env, napi_int32_array, words, buffer, 0, &view) != napi_ok) return false;
    if (napi_set_named_property(env, object, "answers", view) != napi_ok) return false;
    if (napi_create_arraybuffer(env, size_, &data, &buffer) != napi_ok) return false;
    bytes_ = static_cast<uint8_t*>(data);
    if (napi_create_reference(env, buffer, 1, &bytesRef_) != napi_ok) return false;
    return napi_set_named_property(env, object, "answerBytes", buffer) == napi_ok;
  }

  void dispose(napi_env env) {
    for (napi_ref* ref : {&wordsRef_, &bytesRef_}) {
      if (*ref != nullptr) napi_delete_reference(env, *ref);
      *ref = nullptr;
    }
  }

  /** Hands each answer's words to `take`, and has none then. */
  template <typename Take>
  void collect(const Take& take) {
    const int32_t count = words_[0];
    words_[0] = 0;
    for (int32_t i = 0; i < count && i < kMost; i++) take(words_ + 1 + i * wordsEach_);
  }

  const uint8_t* bytes() const { return bytes_; }
  size_t size() const { return size_; }

 private:
  static constexpr int kMost = 1024;

  const int wordsEach_;
  const size_t size_;
  int32_t* words_ = nullptr;
  uint8_t* bytes_ = nullptr;
  napi_ref wordsRef_ = nullptr;
  napi_ref bytesRef_ = nullptr;
};

/** A server that JavaScript holds as an external. It lives until both JavaScript and the loop have let go of it. */
template <typename Server, typename Delivery>
class ServerBinding {
 public:
  using Binding = ServerBinding;

  ServerBinding(napi_env environment, int answerWords, size_t answerBytes)
      : env(environment), answers(answerWords, answerBytes) {}
  virtual ~ServerBinding() { delete delivery; }

  /** Hands the answers that lie ready to their connections. */
  virtual void collect() = 0;

  /** Makes it the `server` of an object. From now on, the end of the thread closes it. */
  bool attach(napi_value object) {
    napi_value external;
    napi_add_async_cleanup_hook(
        env, [](napi_async_cleanup_hook_handle, void* data) { static_cast<Binding*>(data)->close(); }, this, &cleanup_);
    const auto finalize = [](napi_env, void* data, void*) { static_cast<Binding*>(data)->letGo(); };
    return napi_create_external(env, this, finalize, nullptr, &external) == napi_ok &&
           napi_set_named_property(env, object, "server", external) == napi_ok;
  }

  void close() {
    if (server == nullptr) return;
    Server* const closing = server;
    server = nullptr;
    closing->close([](void* context) { static_cast<Binding*>(context)->closed(); }, this);
  }

  napi_env const env;
  /** Until it is closed. */
  Server* server = nullptr;
  Delivery* delivery = nullptr;
  AnswerBoard answers;

 protected:
  /** Gives back what it holds of JavaScript. */
  virtual void release() {
    answers.dispose(env);
    delivery->dispose();
  }

 private:
  void closed() {
    release();
    // The hook's removal also tells a thread that ends that it need not wait for this server any more.
    if (cleanup_ != nullptr) napi_remove_async_cleanup_hook(cleanup_);
    cleanup_ = nullptr;
    letGo();
  }

  void letGo() {
    if (--holders_ == 0) delete this;
  }

  napi_async_cleanup_hook_handle cleanup_ = nullptr;
  /** JavaScript holds one, the sockets and handles of the loop the other. */
  int holders_ = 2;
};

/** The arguments of one call into the addon. The first one is the server; `bound` is null where it is closed. */
template <typename Bound>
struct ServerArguments {
  napi_env env;
  napi_value values[6];
  size_t count = 6;
  Bound* bound = nullptr;

  ServerArguments(napi_env environment, napi_callback_info info) : env(environment) {
    void* data = nullptr;
    if (napi_get_cb_info(env, info, &count, values, nullptr, nullptr) != napi_ok || count == 0) return;
    if (napi_get_value_external(env, values[0], &data) == napi_ok)
      bound = static_cast<Bound*>(static_cast<typename Bound::Binding*>(data));
    if (bound == nullptr) napi_throw_type_error(env, nullptr, Bound::kExpected);
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

  struct Bytes {
    uint8_t* at = nullptr;
    size_t length = 0;
    bool given = false;
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
    return {static_cast<uint8_t*>(data), length, true};
  }

  /** What the two arguments behind the server name, by slot and generation; null for what has ended. */
  auto target() const -> decltype(bound->find(0, 0)) {
    if (bound == nullptr) return nullptr;
    return bound->find(static_cast<uint32_t>(number(1)), static_cast<uint32_t>(number(2)));
  }
};

/** The limits of sockets among a server's options. */
inline net::SocketLimits socketLimitsOf(napi_env env, napi_value from) {
  net::SocketLimits limits;
  limits.maxConnections = static_cast<size_t>(numberIn(env, from, "maxConnections", 10000));
  limits.maxConnectionsPerAddress = static_cast<size_t>(numberIn(env, from, "maxConnectionsPerAddress", 4096));
  return limits;
}

/** Options of `secure` functions: see src/tensor/native.ts. */
inline net::TlsOptions tlsOptionsOf(napi_env env, napi_value from) {
  net::TlsOptions options;
  options.certificate = textIn(env, from, "cert");
  options.key = textIn(env, from, "key");
  options.authorities = textIn(env, from, "ca");
  options.clients = static_cast<net::ClientCertificates>(numberIn(env, from, "clients", 0));
  options.ciphers = textIn(env, from, "ciphers");
  options.suites = textIn(env, from, "suites");
  options.minVersion = static_cast<int>(numberIn(env, from, "minVersion", options.minVersion));
  options.maxVersion = static_cast<int>(numberIn(env, from, "maxVersion", options.maxVersion));
  options.sessionContext = textIn(env, from, "sessionContext");
  return options;
}

}  // namespace switchyard
