#include "http_head.h"

#include <cstring>

namespace switchyard::http {
namespace {

constexpr Refusal kMalformed{400, "malformed HTTP request"};

/** RFC 9110's tchar. */
struct TokenTable {
  bool is[256] = {};
  constexpr TokenTable() {
    for (int c = '0'; c <= '9'; c++) is[c] = true;
    for (int c = 'a'; c <= 'z'; c++) is[c] = is[c - 32] = true;
    for (const char* c = "!#$%&'*+-.^_`|~"; *c != 0; c++) is[static_cast<uint8_t>(*c)] = true;
  }
};
constexpr TokenTable kToken;

bool isToken(char c) { return kToken.is[static_cast<uint8_t>(c)]; }
/** What a header's value may hold: no control characters but the tab. */
bool isValue(char c) { return static_cast<uint8_t>(c) >= 0x20 ? c != 0x7f : c == '\t'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

/** @param name in lower case */
bool named(const char* text, size_t length, const char* name) {
  for (size_t i = 0; i < length; i++) {
    if (lower(text[i]) != name[i]) return false;
  }
  return true;
}

/** A list of tokens between commas holds this one. */
bool lists(const char* value, size_t length, const char* token) {
  const size_t wanted = std::strlen(token);
  size_t at = 0;
  while (at < length) {
    size_t end = at;
    while (end < length && value[end] != ',') end++;
    size_t from = at;
    size_t to = end;
    while (from < to && (value[from] == ' ' || value[from] == '\t')) from++;
    while (to > from && (value[to - 1] == ' ' || value[to - 1] == '\t')) to--;
    if (to - from == wanted && named(value + from, wanted, token)) return true;
    at = end + 1;
  }
  return false;
}

/** Digits only, at most 15 of them; -1 otherwise. */
int64_t parseLength(const char* text, size_t length) {
  if (length == 0 || length > 15) return -1;
  int64_t value = 0;
  for (size_t i = 0; i < length; i++) {
    if (text[i] < '0' || text[i] > '9') return -1;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

/** What the headers that frame the message say, until all are seen. */
struct Framing {
  int hosts = 0;
  int lengths = 0;
  bool transferEncoding = false;
  bool closes = false;
  bool keeps = false;
  Text length;
};

void takeHeader(const char* text, const Text& name, const Text& value, Head& head, Framing& framing) {
  const char* const at = text + name.at;
  const char* const content = text + value.at;
  const auto is = [&](const char* wanted) { return named(at, name.length, wanted); };
  const auto keep = [&](Field field) {
    head.fields[field] = value;
    head.present |= 1u << field;
  };
  switch (name.length) {
    case 4:
      if (is("host")) framing.hosts++;
      break;
    case 6:
      if (is("expect")) head.expectsContinue = value.length == 12 && named(content, 12, "100-continue");
      break;
    case 7:
      if (is("api-key")) keep(kApiKey);
      break;
    case 9:
      if (is("x-api-key")) keep(kApiKey);
      break;
    case 10:
      if (is("connection")) {
        framing.closes = framing.closes || lists(content, value.length, "close");
        framing.keeps = framing.keeps || lists(content, value.length, "keep-alive");
      }
      break;
    case 11:
      if (is("traceparent")) keep(kTraceparent);
      break;
    case 12:
      if (is("x-request-id")) keep(kRequestId);
      break;
    case 13:
      if (is("authorization")) keep(kAuthorization);
      break;
    case 14:
      if (is("content-length")) {
        framing.lengths++;
        framing.length = value;
      }
      break;
    case 15:
      if (is("accept-encoding")) keep(kAcceptEncoding);
      break;
    case 16:
      if (is("content-encoding")) keep(kContentEncoding);
      break;
    case 17:
      if (is("transfer-encoding")) framing.transferEncoding = true;
      break;
    case 20:
      if (is("x-request-timeout-ms")) keep(kTimeoutMs);
      break;
    case 21:
      if (is("x-switchyard-priority")) keep(kPriority);
      break;
    case 23:
      if (is("x-switchyard-timeout-ms")) keep(kTimeoutMs);
      break;
    case 31:
      if (is("inference-header-content-length")) keep(kInferenceHeaderLength);
      break;
  }
}

Refusal finish(const char* text, const Framing& framing, Head& head) {
  if (framing.transferEncoding) {
    if (framing.lengths > 0) return {400, "both Transfer-Encoding and Content-Length; send the body with a Content-Length"};
    return {411, "Transfer-Encoding is not accepted; send the body with a Content-Length"};
  }
  if (framing.lengths > 1) return {400, "several Content-Length headers; send exactly one"};
  if (framing.hosts > 1 || (framing.hosts == 0 && !head.http10)) return {400, "exactly one Host header is required"};
  head.keepAlive = !framing.closes && (!head.http10 || framing.keeps);
  if (framing.lengths == 0) return {};
  head.contentLength = parseLength(text + framing.length.at, framing.length.length);
  if (head.contentLength < 0) return {400, "Content-Length must be a decimal number of bytes"};
  return {};
}

void takeAsked(const char* text, const Text& name, const Text& value, const AskedNames& asked, Head& head) {
  const int place = asked.find(text + name.at, name.length);
  if (place < 0) return;
  if ((head.askedPresent >> place & 1u) != 0) {
    head.askedRepeats = true;
    return;
  }
  head.asked[place] = value;
  head.askedPresent |= 1u << place;
}

}  // namespace

int AskedNames::add(const std::string& name, bool unalike) {
  const int known = find(name.data(), name.size());
  if (known >= 0) return known;
  if (names_.size() == kMostAsked) return -1;
  if (unalike) unalike_ |= 1u << names_.size();
  names_.push_back(name);
  return static_cast<int>(names_.size()) - 1;
}

int AskedNames::find(const char* name, size_t length) const {
  for (size_t i = 0; i < names_.size(); i++) {
    if (names_[i].size() == length && named(name, length, names_[i].data())) return static_cast<int>(i);
  }
  return -1;
}

Refusal readHead(const char* text, size_t length, const AskedNames& asked, Head& head) {
  const auto size = static_cast<uint32_t>(length);
  uint32_t at = 0;
  while (at < size && isToken(text[at])) at++;
  if (at == 0 || at == size || text[at] != ' ') return kMalformed;
  head.method = {0, at};
  head.get = at == 3 && std::memcmp(text, "GET", 3) == 0;
  head.post = at == 4 && std::memcmp(text, "POST", 4) == 0;
  head.headOnly = at == 4 && std::memcmp(text, "HEAD", 4) == 0;
  if (!head.get && !head.post && !head.headOnly) {
    head.fields[kMethodText] = head.method;
    head.present |= 1u << kMethodText;
  }
  const uint32_t target = ++at;
  uint32_t query = 0;
  // Neither controls nor bytes beyond ASCII.
  for (; at < size && static_cast<int8_t>(text[at]) > ' ' && text[at] != 0x7f; at++) {
    if (text[at] == '?' && query == 0) query = at;
  }
  // Absolute targets are a proxy's, and none but OPTIONS may speak of '*'.
  if (at == target || (text[target] != '/' && text[target] != '*')) return kMalformed;
  head.path = {target, (query == 0 ? at : query) - target};
  if (query != 0) {
    head.fields[kQuery] = {query + 1, at - query - 1};
    head.present |= 1u << kQuery;
  }
  if (size - at < 11 || std::memcmp(text + at, " HTTP/1.", 8) != 0) return kMalformed;
  const char minor = text[at + 8];
  if ((minor != '0' && minor != '1') || text[at + 9] != '\r' || text[at + 10] != '\n') return kMalformed;
  head.http10 = minor == '0';
  head.askedNames = static_cast<uint32_t>(asked.size());
  at += 11;
  Framing framing;
  while (size - at > 2) {
    const uint32_t name = at;
    while (at < size && isToken(text[at])) at++;
    if (at == name || at == size || text[at] != ':') return kMalformed;
    const uint32_t nameLength = at - name;
    at++;
    while (at < size && (text[at] == ' ' || text[at] == '\t')) at++;
    const uint32_t value = at;
    while (at < size && isValue(text[at])) at++;
    if (size - at < 2 || text[at] != '\r' || text[at + 1] != '\n') return kMalformed;
    uint32_t end = at;
    while (end > value && (text[end - 1] == ' ' || text[end - 1] == '\t')) end--;
    takeHeader(text, {name, nameLength}, {value, end - value}, head, framing);
    takeAsked(text, {name, nameLength}, {value, end - value}, asked, head);
    at += 2;
  }
  if (size - at != 2 || text[at] != '\r' || text[at + 1] != '\n') return kMalformed;
  return finish(text, framing, head);
}

bool mayBecomeHead(const char* text, size_t length) {
  if (length > 0 && !isToken(text[0])) return false;
  for (size_t i = 0; i < length; i++) {
    if (text[i] == 0 || (text[i] == '\n' && (i == 0 || text[i - 1] != '\r'))) return false;
  }
  return true;
}

}  // namespace switchyard::http
