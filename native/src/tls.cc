#include "tls.h"

#include <algorithm>
#include <climits>
#include <cstring>

namespace switchyard::net {
namespace {

/** A handshake that takes more is refused. Chains of client certificates have a few thousand bytes. */
constexpr size_t kMaxHandshakeBytes = 128 * 1024;

/** What OpenSSL says of the call that failed first since the last clearing. */
std::string failure(const char* what) {
  char text[256] = "";
  const unsigned long code = openssl.ERR_peek_error();
  if (code != 0) openssl.ERR_error_string_n(code, text, sizeof text);
  openssl.ERR_clear_error();
  return text[0] == '\0' ? std::string(what) : std::string(what) + ": " + text;
}

/** Without it, OpenSSL would ask at the terminal. */
int noPassphrase(char*, int, int, void*) { return -1; }

struct Text {
  explicit Text(const std::string& pem)
      : bio(openssl.BIO_new_mem_buf(pem.data(), static_cast<int>(std::min(pem.size(), size_t{INT_MAX})))) {}
  ~Text() { openssl.BIO_free(bio); }
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;
  Certificate* next() const { return openssl.PEM_read_bio_X509_AUX(bio, nullptr, noPassphrase, nullptr); }
  /** After `next` gave nothing: because there is no more. */
  bool ended() const { return openssl.ERR_peek_last_error() == kNoStartLine; }

  Bio* const bio;
};

/** Takes h2 and nothing else. */
int chooseProtocol(Ssl*, const uint8_t** out, uint8_t* outLength, const uint8_t* in, unsigned length, void*) {
  for (unsigned at = 0; at < length; at += 1u + in[at]) {
    if (in[at] != 2 || at + 3 > length || std::memcmp(in + at + 1, "h2", 2) != 0) continue;
    *out = in + at + 1;
    *outLength = 2;
    return kAlpnTaken;
  }
  return kAlpnRefused;
}

/** A client that names no protocol is refused before it costs a signature. */
int requireProtocol(Ssl* ssl, int* alert, void*) {
  const uint8_t* bytes;
  size_t length;
  if (openssl.SSL_client_hello_get0_ext(ssl, kAlpnExtension, &bytes, &length) == 1) return kHelloTaken;
  *alert = kNoApplicationProtocol;
  return kHelloRefused;
}

/** Certificates that are only asked for may be bad: what is wrong stays to be read in the result. */
int takeAny(int, VerifyContext*) { return 1; }

/** One set for all threads of the process: a client that resumes may come to another one than it was at. */
struct TicketKeys {
  TicketKeys() { good = openssl.RAND_bytes(bytes, sizeof bytes) == 1; }
  uint8_t bytes[kTicketKeyBytes];
  bool good;
};

TicketKeys& ticketKeys() {
  static TicketKeys keys;
  return keys;
}

}  // namespace

TlsContext::~TlsContext() {
  if (context_ != nullptr) openssl.SSL_CTX_free(context_);
}

std::string TlsContext::configure(const TlsOptions& options) {
  openssl.ERR_clear_error();
  context_ = openssl.SSL_CTX_new(openssl.TLS_server_method());
  if (context_ == nullptr) return failure("OpenSSL has no server");
  openssl.SSL_CTX_set_options(context_, kNoCompression | kServerPreference | kNoRenegotiation);
  // An idle connection holds no buffers.
  openssl.SSL_CTX_ctrl(context_, kSetMode, kReleaseBuffers, nullptr);
  // Sessions are resumed by tickets, which the clients keep.
  openssl.SSL_CTX_ctrl(context_, kSetCacheMode, kNoCache, nullptr);
  TicketKeys& tickets = ticketKeys();
  const auto* context = reinterpret_cast<const uint8_t*>(options.sessionContext.data());
  const bool set =
      openssl.SSL_CTX_ctrl(context_, kSetMinVersion, options.minVersion, nullptr) == 1 &&
      openssl.SSL_CTX_ctrl(context_, kSetMaxVersion, options.maxVersion, nullptr) == 1 && tickets.good &&
      openssl.SSL_CTX_ctrl(context_, kSetTicketKeys, kTicketKeyBytes, tickets.bytes) == 1 &&
      openssl.SSL_CTX_set_session_id_context(context_, context, static_cast<unsigned>(options.sessionContext.size())) == 1;
  if (!set) return failure("OpenSSL refuses its settings");
  const bool ciphers = options.ciphers.empty() || openssl.SSL_CTX_set_cipher_list(context_, options.ciphers.c_str()) == 1;
  if (!ciphers || openssl.SSL_CTX_set_ciphersuites(context_, options.suites.c_str()) != 1) {
    return failure("the ciphers cannot be used");
  }
  std::string problem = useCertificates(options.certificate);
  if (problem.empty()) problem = useKey(options.key);
  if (problem.empty()) problem = trust(options.authorities);
  if (!problem.empty()) return problem;
  asksClients_ = options.clients != ClientCertificates::kNone;
  if (options.clients == ClientCertificates::kRequest) openssl.SSL_CTX_set_verify(context_, kVerifyPeer, takeAny);
  if (options.clients == ClientCertificates::kRequire) {
    openssl.SSL_CTX_set_verify(context_, kVerifyPeer | kVerifyRequired, nullptr);
  }
  if (options.http2) {
    openssl.SSL_CTX_set_alpn_select_cb(context_, chooseProtocol, nullptr);
    openssl.SSL_CTX_set_client_hello_cb(context_, requireProtocol, nullptr);
  }
  openssl.SSL_CTX_set_msg_callback(
      context_, [](int written, int, int type, const void* bytes, size_t length, Ssl*, void* session) {
        if (written != 0 || type != kHandshakeRecord || length == 0) return;
        static_cast<TlsSession*>(session)->onMessage(*static_cast<const uint8_t*>(bytes));
      });
  return "";
}

std::string TlsContext::useCertificates(const std::string& pem) {
  const Text text(pem);
  Certificate* first = text.next();
  if (first == nullptr) return failure("the certificate cannot be read");
  const bool used = openssl.SSL_CTX_use_certificate(context_, first) == 1;
  openssl.X509_free(first);
  if (!used) return failure("the certificate cannot be used");
  while (Certificate* more = text.next()) {
    // The reference is the context's own.
    const bool added = openssl.SSL_CTX_ctrl(context_, kAddChainCertificate, 1, more) == 1;
    openssl.X509_free(more);
    if (!added) return failure("the certificate's chain cannot be used");
  }
  if (!text.ended()) return failure("the certificate's chain cannot be read");
  openssl.ERR_clear_error();
  return "";
}

std::string TlsContext::useKey(const std::string& pem) {
  const Text text(pem);
  PrivateKey* key = openssl.PEM_read_bio_PrivateKey(text.bio, nullptr, noPassphrase, nullptr);
  if (key == nullptr) return failure("the private key cannot be read");
  const bool used = openssl.SSL_CTX_use_PrivateKey(context_, key) == 1;
  openssl.EVP_PKEY_free(key);
  return used ? "" : failure("the private key cannot be used with the certificate");
}

std::string TlsContext::trust(const std::string& pem) {
  if (pem.empty()) return "";
  const Text text(pem);
  CertificateStore* store = openssl.SSL_CTX_get_cert_store(context_);
  int count = 0;
  while (Certificate* authority = text.next()) {
    const bool added = openssl.X509_STORE_add_cert(store, authority) == 1 &&
                       openssl.SSL_CTX_add_client_CA(context_, authority) == 1;
    openssl.X509_free(authority);
    if (!added) return failure("an authority's certificate cannot be used");
    count++;
  }
  if (count == 0 || !text.ended()) return failure("the authorities' certificates cannot be read");
  openssl.ERR_clear_error();
  return "";
}

// ---- One connection ----

/** Between OpenSSL and memory: reads what was fed, writes to `output`. One for the process, which is never freed. */
BioMethod* TlsSession::method() {
  static BioMethod* const made = [] {
    BioMethod* bio = openssl.BIO_meth_new(kBioSourceSink, "switchyard");
    if (bio == nullptr) return bio;
    openssl.BIO_meth_set_read(bio, onRead);
    openssl.BIO_meth_set_write(bio, onWrite);
    openssl.BIO_meth_set_ctrl(bio, onControl);
    return bio;
  }();
  return made;
}

int TlsSession::onRead(Bio* bio, char* out, int room) {
  auto& self = *static_cast<TlsSession*>(openssl.BIO_get_data(bio));
  openssl.BIO_clear_flags(bio, kBioRetryFlags);
  const size_t count = std::min(self.inputLength_, static_cast<size_t>(std::max(room, 0)));
  if (count == 0) {
    openssl.BIO_set_flags(bio, kBioRead | kBioRetry);
    return -1;
  }
  std::memcpy(out, self.input_, count);
  self.input_ += count;
  self.inputLength_ -= count;
  return static_cast<int>(count);
}

int TlsSession::onWrite(Bio* bio, const char* bytes, int length) {
  auto& self = *static_cast<TlsSession*>(openssl.BIO_get_data(bio));
  self.output.append(bytes, static_cast<size_t>(length));
  return length;
}

long TlsSession::onControl(Bio*, int command, long, void*) { return command == kBioFlush ? 1 : 0; }

TlsSession::TlsSession(const TlsContext& context) : asksClient_(context.asksClients_) {
  ssl_ = openssl.SSL_new(context.context_);
  Bio* bio = ssl_ == nullptr || method() == nullptr ? nullptr : openssl.BIO_new(method());
  if (bio == nullptr) {
    openssl.ERR_clear_error();
    state_ = State::kFailed;
    return;
  }
  openssl.BIO_set_data(bio, this);
  openssl.BIO_set_init(bio, 1);
  openssl.SSL_set_bio(ssl_, bio, bio);
  openssl.SSL_set_accept_state(ssl_);
  openssl.SSL_ctrl(ssl_, kSetMessageArgument, 0, this);
}

TlsSession::~TlsSession() {
  if (ssl_ != nullptr) openssl.SSL_free(ssl_);
}

void TlsSession::feed(const uint8_t* bytes, size_t length) {
  input_ = bytes;
  inputLength_ = length;
  if (state_ == State::kHandshake) handshakeBytes_ += length;
}

size_t TlsSession::read(uint8_t* out, size_t room) {
  size_t count = 0;
  // Small records are gathered: each call for the protocol above costs more than the copy.
  while (count < room && (state_ == State::kHandshake || state_ == State::kOpen)) {
    openssl.ERR_clear_error();
    const int got = openssl.SSL_read(ssl_, out + count, static_cast<int>(room - count));
    if (state_ == State::kHandshake && openssl.SSL_is_init_finished(ssl_) == 1) opened();
    if (got > 0) {
      count += static_cast<size_t>(got);
      continue;
    }
    const int error = openssl.SSL_get_error(ssl_, got);
    if (error == kWantRead) break;
    state_ = error == kZeroReturn ? State::kClosed : State::kFailed;
    openssl.ERR_clear_error();
  }
  if (state_ == State::kHandshake && handshakeBytes_ > kMaxHandshakeBytes) state_ = State::kFailed;
  return count;
}

void TlsSession::write(const char* bytes, size_t length) {
  if (length == 0 || !open()) return;
  openssl.ERR_clear_error();
  if (openssl.SSL_write(ssl_, bytes, static_cast<int>(length)) == static_cast<int>(length)) return;
  state_ = State::kFailed;
  openssl.ERR_clear_error();
}

void TlsSession::close() {
  // After a failure OpenSSL must not be asked, and an alert has been written.
  if (ended_ || (!open() && state_ != State::kClosed)) return;
  ended_ = true;
  openssl.ERR_clear_error();
  openssl.SSL_shutdown(ssl_);
  openssl.ERR_clear_error();
  state_ = State::kClosed;
}

/** The client's Finished is the last message of its handshake, in all versions and resumed or not. */
void TlsSession::onMessage(uint8_t type) {
  if (!finished_) finished_ = type == kFinished;
  else if (type == kClientHello) renegotiating_ = true;
  else strays_++;
}

size_t TlsSession::takeStrays() {
  const size_t count = strays_;
  strays_ = 0;
  return count;
}

/** As with node: no name where the certificate has several, or none was verified. */
void TlsSession::opened() {
  state_ = State::kOpen;
  if (!asksClient_ || openssl.SSL_get_verify_result(ssl_) != 0) return;
  const Certificate* certificate = openssl.SSL_get0_peer_certificate(ssl_);
  if (certificate == nullptr) return;
  const DistinguishedName* name = openssl.X509_get_subject_name(certificate);
  const int index = name == nullptr ? -1 : openssl.X509_NAME_get_index_by_NID(name, kCommonName, -1);
  if (index < 0 || openssl.X509_NAME_get_index_by_NID(name, kCommonName, index) >= 0) return;
  const Asn1String* value = openssl.X509_NAME_ENTRY_get_data(openssl.X509_NAME_get_entry(name, index));
  uint8_t* text = nullptr;
  const int length = value == nullptr ? -1 : openssl.ASN1_STRING_to_UTF8(&text, value);
  if (length > 0) certificateName_.assign(reinterpret_cast<const char*>(text), static_cast<size_t>(length));
  if (length >= 0) openssl.CRYPTO_free(text, "", 0);
  openssl.ERR_clear_error();
}

}  // namespace switchyard::net
