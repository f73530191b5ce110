// One TLS connection without its socket: encrypted bytes in and out on one side, plain ones on the other. OpenSSL keeps the
// protocol; this bounds what a client may do, and knows who it is.
#pragma once

#include <string>

#include "openssl.h"

namespace switchyard::net {

enum class ClientCertificates : uint8_t { kNone, kRequest, kRequire };

/** PEM texts, and names as OpenSSL has them. */
struct TlsOptions {
  /** The server's certificate, then those that lead from it to an authority. */
  std::string certificate;
  std::string key;
  /** The authorities that sign client certificates. */
  std::string authorities;
  ClientCertificates clients = ClientCertificates::kNone;
  /** Up to TLS 1.2, and of 1.3. */
  std::string ciphers;
  std::string suites;
  int minVersion = 0x303;
  int maxVersion = 0x304;
  /** At most 32 bytes: a session is resumed only under the settings that it was made under, for which this stands. */
  std::string sessionContext;
  /** Only clients that speak it are taken. */
  bool http2 = true;
};

/** What the connections of one server share. */
class TlsContext {
 public:
  TlsContext() = default;
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  /** '', or what is wrong with the options. To be called once. */
  std::string configure(const TlsOptions& options);

 private:
  friend class TlsSession;
  std::string useCertificates(const std::string& pem);
  std::string useKey(const std::string& pem);
  std::string trust(const std::string& pem);

  SslContext* context_ = nullptr;
  bool asksClients_ = false;
};

class TlsSession {
 public:
  enum class State : uint8_t {
    kHandshake,
    kOpen,
    kClosed,  // the client has said that nothing more comes, or we have
    kFailed,  // `output` may hold an alert that says why
  };

  explicit TlsSession(const TlsContext& context);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  /** Takes bytes from the socket, which are only borrowed: `read` is to be called until it gives 0. */
  void feed(const uint8_t* bytes, size_t length);
  /** Decrypted bytes; 0: everything that was fed has been taken. May add to `output`. */
  size_t read(uint8_t* out, size_t room);
  /** Encrypts into `output`. Only while open. */
  void write(const char* bytes, size_t length);
  /** Says that nothing more comes. */
  void close();

  State state() const { return state_; }
  bool open() const { return state_ == State::kOpen; }
  /** A handshake was begun on a connection that had one: HTTP/2 forbids it. */
  bool renegotiating() const { return renegotiating_; }
  /** Messages of TLS itself since the last call, after the handshake. */
  size_t takeStrays();
  /** The common name of the client's certificate, '' where there is none, or none that an authority vouches for. */
  const std::string& certificateName() const { return certificateName_; }

  /** Encrypted bytes for the socket, of which the first `outputAt` have left. */
  std::string output;
  size_t outputAt = 0;
  size_t unsent() const { return output.size() - outputAt; }

 private:
  static BioMethod* method();
  static int onRead(Bio* bio, char* out, int room);
  static int onWrite(Bio* bio, const char* bytes, int length);
  static long onControl(Bio* bio, int command, long, void*);
  void onMessage(uint8_t type);
  void opened();
  friend class TlsContext;

  Ssl* ssl_ = nullptr;
  State state_ = State::kHandshake;
  const bool asksClient_;
  bool finished_ = false;
  bool ended_ = false;
  bool renegotiating_ = false;
  size_t strays_ = 0;
  size_t handshakeBytes_ = 0;
  const uint8_t* input_ = nullptr;
  size_t inputLength_ = 0;
  std::string certificateName_;
};

}  // namespace switchyard::net
