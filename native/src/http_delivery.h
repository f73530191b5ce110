// Tells JavaScript of a server's requests: one callback for each turn of the loop, with everything as words of one array,
// texts and small bodies in a block that is used again in the next turn, and a list of the large bodies.
#pragma once

#include <node_api.h>

#include <string>
#include <vector>

#include "http_connection.h"

namespace switchyard::http {

// src/server/http/native.ts reads the words by the same names.
enum Event { kText = 1, kRequest, kBody, kGone, kFlushed };

class Delivery {
 public:
  Delivery(napi_env env, Exchanges& exchanges) : env_(env), exchanges_(exchanges) {}

  /** Makes words and block; `turn` is JavaScript's callback (count, large bodies | undefined). */
  bool prepare(napi_value turn, napi_value* words, napi_value* block);
  void dispose();
  /** Tells all that is queued. */
  void run();

 private:
  void tell(const Queued& queued);
  bool stillExpected(const Queued& queued) const;
  void tellRequest(HttpConnection& connection, const Queued& queued);
  /** Two words: where the body lies. -1: in the block. */
  void body(HttpConnection& connection);
  int32_t known(size_t table, const char* text, size_t length);
  int32_t value(size_t place, const char* text, size_t length);
  void place(const char* bytes, size_t length);
  int32_t object(LargeBody&& body);
  void reserve(size_t bytes);
  void deliver();
  void push(int32_t word) { words_[count_++] = word; }

  /** Of each table of known texts: as many users may come by turns before their names are made anew. */
  static constexpr size_t kTexts = 4096;
  static constexpr size_t kLongestValue = 64;

  napi_env const env_;
  Exchanges& exchanges_;
  napi_ref turn_ = nullptr;
  napi_ref wordsRef_ = nullptr;
  napi_ref blockRef_ = nullptr;
  int32_t* words_ = nullptr;
  int count_ = 0;
  uint8_t* block_ = nullptr;
  size_t blockUsed_ = 0;
  napi_value objects_ = nullptr;
  int32_t objectCount_ = 0;
  std::vector<Queued> telling_;
  /** By number: a table of paths, then one of the values of each header that is asked for. */
  std::vector<std::string> texts_;
};

}  // namespace switchyard::http
