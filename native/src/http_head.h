// The head of an HTTP/1.1 request, read in one pass and strictly: whatever two parsers may read in two ways is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace switchyard::http {

/** Headers and parts of the first line that JavaScript is told of where they are there. */
enum Field {
  kContentEncoding,
  kAcceptEncoding,
  kInferenceHeaderLength,
  kAuthorization,
  kApiKey,
  kTraceparent,
  kTimeoutMs,
  kPriority,
  kRequestId,
  kQuery,
  /** Only where it is none of `kMethods`. */
  kMethodText,
  kFields,
};

struct Text {
  uint32_t at = 0;
  uint32_t length = 0;
};

/** Bits that a word of JavaScript's has for them, beside their count. */
constexpr size_t kMostAsked = 16;

/** Names of further headers that JavaScript asks for, lower case. They only grow: a head knows how many there were. */
class AskedNames {
 public:
  /**
   * The name's place, -1 where there is no room.
   * @param unalike its values hardly come again: who first asks for the name says so
   */
  int add(const std::string& name, bool unalike);
  bool unalike(size_t place) const { return (unalike_ >> place & 1u) != 0; }
  /** The place of a header's name as it came, -1: it is not asked for. */
  int find(const char* name, size_t length) const;
  size_t size() const { return names_.size(); }

 private:
  std::vector<std::string> names_;
  uint32_t unalike_ = 0;
};

struct Head {
  /** Offsets count from the head's first byte. */
  Text method;
  Text path;
  Text fields[kFields];
  /** A bit for each field that is there. */
  uint32_t present = 0;
  /** By the places of AskedNames, the first of several: only where its bit is set. */
  Text asked[kMostAsked];
  uint32_t askedPresent = 0;
  /** There are several of one of these names. */
  bool askedRepeats = false;
  /** How many names were asked for when it was read. */
  uint32_t askedNames = 0;
  /** -1: none is declared. */
  int64_t contentLength = -1;
  bool get = false;
  bool post = false;
  bool headOnly = false;
  bool http10 = false;
  bool keepAlive = true;
  bool expectsContinue = false;
};

/** Why a request is refused: 0 and nullptr where it is not. */
struct Refusal {
  int status = 0;
  const char* message = nullptr;
};

/** @param text a head with the empty line that ends it */
Refusal readHead(const char* text, size_t length, const AskedNames& asked, Head& head);

/** Whether so much of a head can become one: no line feed alone, no NUL, and it begins as a request does. */
bool mayBecomeHead(const char* text, size_t length);

}  // namespace switchyard::http
