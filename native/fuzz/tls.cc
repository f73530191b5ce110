// A libFuzzer target for TLS of the gRPC server:  .ci/fuzz.sh SECONDS
// A real client of OpenSSL's talks to a session, and the input says what is written, closed, cut into pieces, damaged on the
// way, or replaced by bytes of the input's own.
#include "tls.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>

namespace {

using namespace switchyard::net;

void require(bool holds) {
  if (!holds) std::abort();
}

/** The program runs in the repository's root. */
std::string pem(const std::string& name) {
  std::ifstream file("src/testing/fixtures/tls/" + name);
  std::stringstream text;
  text << file.rdbuf();
  require(!text.str().empty());
  return text.str();
}

const TlsContext& serverContext() {
  static TlsContext context;
  static const bool made = [] {
    require(loadOpenSsl() == nullptr);
    TlsOptions options;
    options.certificate = pem("localhost.pem");
    options.key = pem("localhost.key");
    options.authorities = pem("ca.pem");
    options.clients = ClientCertificates::kRequest;
    options.ciphers = "DEFAULT";
    options.suites = "TLS_AES_128_GCM_SHA256";
    options.sessionContext = "fuzz";
    return context.configure(options).empty();
  }();
  require(made);
  return context;
}

SSL_CTX* clientContext() {
  static SSL_CTX* const context = [] {
    SSL_CTX* fresh = SSL_CTX_new(TLS_client_method());
    require(SSL_CTX_use_certificate_file(fresh, "src/testing/fixtures/tls/alice.pem", SSL_FILETYPE_PEM) == 1);
    require(SSL_CTX_use_PrivateKey_file(fresh, "src/testing/fixtures/tls/alice.key", SSL_FILETYPE_PEM) == 1);
    return fresh;
  }();
  return context;
}

struct Client {
  explicit Client(uint8_t mode) : ssl(SSL_new(clientContext())), in(BIO_new(BIO_s_mem())), out(BIO_new(BIO_s_mem())) {
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    if ((mode & 1) != 0) SSL_set_max_proto_version(ssl, TLS1_2_VERSION);
    if ((mode & 2) == 0) SSL_set_alpn_protos(ssl, reinterpret_cast<const uint8_t*>("\x01x\x02h2"), 5);
  }
  ~Client() { SSL_free(ssl); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  SSL* ssl;
  BIO* in;
  BIO* out;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  TlsSession session(serverContext());
  Client client(data[0]);
  std::string sent;
  std::string received;
  bool damaged = false;
  const auto deliver = [&](const uint8_t* bytes, size_t length) {
    // In memory of its own, so that reading beyond it is seen.
    const std::unique_ptr<uint8_t[]> copy(new uint8_t[length]);
    std::copy_n(bytes, length, copy.get());
    session.feed(copy.get(), length);
    uint8_t plain[3000];
    while (const size_t count = session.read(plain, sizeof plain)) {
      require(count <= sizeof plain);
      received.append(reinterpret_cast<const char*>(plain), count);
    }
  };
  // Six rounds are more than a handshake takes.
  for (size_t at = 1, step = 0; step < 6 + size && step < 64; step++) {
    const uint8_t act = at < size ? data[at++] : 0;
    const uint8_t how = at < size ? data[at++] : 0;
    const size_t count = std::min(size - std::min(at, size), static_cast<size_t>(how));
    switch (act % 10) {
      case 1:
        if (SSL_is_init_finished(client.ssl) && SSL_write(client.ssl, data + at, static_cast<int>(count)) > 0) {
          sent.append(reinterpret_cast<const char*>(data + at), count);
        }
        at += count;
        break;
      case 2:
        damaged = true;
        deliver(data + at, count);
        at += count;
        break;
      case 3:
        if (session.open()) session.write(reinterpret_cast<const char*>(data + at), count);
        break;
      case 4:
        session.close();
        break;
      case 5:
        if (SSL_is_init_finished(client.ssl)) SSL_key_update(client.ssl, how & 1);
        break;
      case 6:
        if (SSL_is_init_finished(client.ssl)) SSL_renegotiate(client.ssl);
        break;
      case 7:
        if (SSL_is_init_finished(client.ssl)) SSL_shutdown(client.ssl);
        break;
      default:
        break;
    }
    uint8_t plain[512];
    while (SSL_read(client.ssl, plain, sizeof plain) > 0) {
    }
    char* bytes = nullptr;
    const long length = BIO_get_mem_data(client.out, &bytes);
    std::string way(bytes, static_cast<size_t>(length));
    (void)BIO_reset(client.out);
    if (act % 10 == 8 && !way.empty()) {
      way[how % way.size()] ^= static_cast<char>(act | 1);
      damaged = true;
    }
    const size_t first = act % 10 == 9 ? how % (way.size() + 1) : way.size();
    deliver(reinterpret_cast<const uint8_t*>(way.data()), first);
    deliver(reinterpret_cast<const uint8_t*>(way.data()) + first, way.size() - first);
    BIO_write(client.in, session.output.data(), static_cast<int>(session.output.size()));
    session.output.clear();
    session.takeStrays();
  }
  // Bytes of the input's own may happen to be records only before there are keys.
  require(sent.compare(0, received.size(), received) == 0);
  if (session.open() && !damaged) require(received == sent && session.certificateName() == "alice");
  return 0;
}
