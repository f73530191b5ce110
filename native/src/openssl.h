// What TLS takes from the process it is loaded into: node carries OpenSSL and exports it with its stable C interface. The
// entries used are declared here and looked up once; nothing is linked.
#pragma once

#include <cstddef>
#include <cstdint>

namespace switchyard::net {

struct Ssl;
struct SslContext;
struct SslMethod;
struct Bio;
struct BioMethod;
struct Certificate;
struct CertificateStore;
struct VerifyContext;
struct PrivateKey;
struct DistinguishedName;
struct NameEntry;
struct Asn1String;

/** Asked for the passphrase of an encrypted key. */
using PassphraseCallback = int (*)(char* out, int room, int writing, void* user);
using MessageCallback = void (*)(int written, int version, int type, const void* bytes, size_t length, Ssl*, void* user);
using AlpnCallback = int (*)(Ssl*, const uint8_t** out, uint8_t* outLength, const uint8_t* in, unsigned length, void* user);
using HelloCallback = int (*)(Ssl*, int* alert, void* user);

// The numbers are of OpenSSL's interface, where they are hidden in macros.
enum SslControl {
  kSetMessageArgument = 16,
  kSetMode = 33,
  kSetCacheMode = 44,
  kSetTicketKeys = 59,
  kAddChainCertificate = 89,
  kSetMinVersion = 123,
  kSetMaxVersion = 124,
};
constexpr uint64_t kNoCompression = uint64_t{1} << 17;
constexpr uint64_t kServerPreference = uint64_t{1} << 22;
constexpr uint64_t kNoRenegotiation = uint64_t{1} << 30;
enum SslMode { kReleaseBuffers = 16 };
enum SslCacheMode { kNoCache = 0 };
enum SslVerify { kVerifyNone = 0, kVerifyPeer = 1, kVerifyRequired = 2 };
enum SslError { kWantRead = 2, kZeroReturn = 6 };
enum SslAnswer { kAlpnTaken = 0, kAlpnRefused = 2, kHelloRefused = 0, kHelloTaken = 1 };
enum SslAlert { kNoApplicationProtocol = 120 };
enum SslExtension { kAlpnExtension = 16 };
enum SslRecord { kHandshakeRecord = 22 };
enum SslMessage { kClientHello = 1, kFinished = 20 };
enum BioFlag { kBioRead = 1, kBioRetry = 8, kBioRetryFlags = 15 };
enum BioControl { kBioFlush = 11 };
enum BioType { kBioSourceSink = 0x400 };
enum NameField { kCommonName = 13 };
constexpr size_t kTicketKeyBytes = 80;
/** How a text ends in which more PEM was looked for. */
constexpr unsigned long kNoStartLine = 9ul << 23 | 108;

// clang-format off
#define SWITCHYARD_OPENSSL_ENTRIES(X) \
  X(TLS_server_method, const SslMethod*, ()) \
  X(SSL_CTX_new, SslContext*, (const SslMethod*)) \
  X(SSL_CTX_free, void, (SslContext*)) \
  X(SSL_CTX_ctrl, long, (SslContext*, int, long, void*)) \
  X(SSL_CTX_set_options, uint64_t, (SslContext*, uint64_t)) \
  X(SSL_CTX_set_cipher_list, int, (SslContext*, const char*)) \
  X(SSL_CTX_set_ciphersuites, int, (SslContext*, const char*)) \
  X(SSL_CTX_use_certificate, int, (SslContext*, Certificate*)) \
  X(SSL_CTX_use_PrivateKey, int, (SslContext*, PrivateKey*)) \
  X(SSL_CTX_get_cert_store, CertificateStore*, (const SslContext*)) \
  X(SSL_CTX_add_client_CA, int, (SslContext*, Certificate*)) \
  X(SSL_CTX_set_verify, void, (SslContext*, int, int (*)(int, VerifyContext*))) \
  X(SSL_CTX_set_session_id_context, int, (SslContext*, const uint8_t*, unsigned)) \
  X(SSL_CTX_set_alpn_select_cb, void, (SslContext*, AlpnCallback, void*)) \
  X(SSL_CTX_set_client_hello_cb, void, (SslContext*, HelloCallback, void*)) \
  X(SSL_client_hello_get0_ext, int, (Ssl*, unsigned, const uint8_t**, size_t*)) \
  X(SSL_CTX_set_msg_callback, void, (SslContext*, MessageCallback)) \
  X(SSL_new, Ssl*, (SslContext*)) \
  X(SSL_free, void, (Ssl*)) \
  X(SSL_ctrl, long, (Ssl*, int, long, void*)) \
  X(SSL_set_bio, void, (Ssl*, Bio* read, Bio* write)) \
  X(SSL_set_accept_state, void, (Ssl*)) \
  X(SSL_read, int, (Ssl*, void*, int)) \
  X(SSL_write, int, (Ssl*, const void*, int)) \
  X(SSL_shutdown, int, (Ssl*)) \
  X(SSL_get_error, int, (const Ssl*, int)) \
  X(SSL_is_init_finished, int, (const Ssl*)) \
  X(SSL_get_verify_result, long, (const Ssl*)) \
  X(SSL_get0_peer_certificate, Certificate*, (const Ssl*)) \
  X(BIO_new, Bio*, (const BioMethod*)) \
  X(BIO_new_mem_buf, Bio*, (const void*, int)) \
  X(BIO_free, int, (Bio*)) \
  X(BIO_meth_new, BioMethod*, (int, const char*)) \
  X(BIO_meth_set_read, int, (BioMethod*, int (*)(Bio*, char*, int))) \
  X(BIO_meth_set_write, int, (BioMethod*, int (*)(Bio*, const char*, int))) \
  X(BIO_meth_set_ctrl, int, (BioMethod*, long (*)(Bio*, int, long, void*))) \
  X(BIO_set_data, void, (Bio*, void*)) \
  X(BIO_get_data, void*, (Bio*)) \
  X(BIO_set_init, void, (Bio*, int)) \
  X(BIO_set_flags, void, (Bio*, int)) \
  X(BIO_clear_flags, void, (Bio*, int)) \
  X(PEM_read_bio_X509_AUX, Certificate*, (Bio*, Certificate**, PassphraseCallback, void*)) \
  X(PEM_read_bio_PrivateKey, PrivateKey*, (Bio*, PrivateKey**, PassphraseCallback, void*)) \
  X(EVP_PKEY_free, void, (PrivateKey*)) \
  X(X509_free, void, (Certificate*)) \
  X(X509_STORE_add_cert, int, (CertificateStore*, Certificate*)) \
  X(X509_get_subject_name, DistinguishedName*, (const Certificate*)) \
  X(X509_NAME_get_index_by_NID, int, (const DistinguishedName*, int field, int after)) \
  X(X509_NAME_get_entry, NameEntry*, (const DistinguishedName*, int)) \
  X(X509_NAME_ENTRY_get_data, Asn1String*, (const NameEntry*)) \
  X(ASN1_STRING_to_UTF8, int, (uint8_t**, const Asn1String*)) \
  X(CRYPTO_free, void, (void*, const char* file, int line)) \
  X(RAND_bytes, int, (uint8_t*, int)) \
  X(ERR_clear_error, void, ()) \
  X(ERR_peek_error, unsigned long, ()) \
  X(ERR_peek_last_error, unsigned long, ()) \
  X(ERR_error_string_n, void, (unsigned long, char*, size_t))
// clang-format on

/** One function pointer for each entry, under the entry's own name. */
struct OpenSsl {
#define SWITCHYARD_FIELD(name, result, arguments) result(*name) arguments;
  SWITCHYARD_OPENSSL_ENTRIES(SWITCHYARD_FIELD)
#undef SWITCHYARD_FIELD
};

extern OpenSsl openssl;

/** Looks the entries up in this process; the first one that is missing, or nullptr. Some are new in OpenSSL 3. */
const char* loadOpenSsl();

}  // namespace switchyard::net
