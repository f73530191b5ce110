#include "http_delivery.h"

#include <cstring>

#include "values.h"

namespace switchyard::http {
namespace {

constexpr int kWords = 16384;
constexpr size_t kBlockBytes = 1 << 20;
/** Of one request: a path, its own words, two for each field, and for each header asked for a text and two. */
constexpr int kMostWords = 4 + 12 + 2 * kFields + 6 * static_cast<int>(kMostAsked);
/** Instead of the length of a text that lies in the block: it is known by its number. */
constexpr int32_t kByNumber = -1;
/** Beside the names that are asked for and their count: there are several of one of them. */
constexpr uint32_t kRepeats = 1u << 30;
/** Tensors in a body are to lie as they do in a buffer of their own. */
size_t aligned(size_t offset) { return (offset + 7) & ~size_t{7}; }

}  // namespace

bool Delivery::prepare(napi_value turn, napi_value* words, napi_value* block) {
  napi_value buffer;
  void* data = nullptr;
  if (napi_create_reference(env_, turn, 1, &turn_) != napi_ok) return false;
  if (napi_create_arraybuffer(env_, kWords * sizeof(int32_t), &data, &buffer) != napi_ok) return false;
  words_ = static_cast<int32_t*>(data);
  if (napi_create_reference(env_, buffer, 1, &wordsRef_) != napi_ok) return false;
  if (napi_create_typedarray(env_, napi_int32_array, kWords, buffer, 0, words) != napi_ok) return false;
  if (napi_create_arraybuffer(env_, kBlockBytes, &data, block) != napi_ok) return false;
  block_ = static_cast<uint8_t*>(data);
  return napi_create_reference(env_, *block, 1, &blockRef_) == napi_ok;
}

void Delivery::dispose() {
  for (napi_ref* ref : {&turn_, &wordsRef_, &blockRef_}) {
    if (*ref != nullptr) napi_delete_reference(env_, *ref);
    *ref = nullptr;
  }
}

void Delivery::run() {
  telling_.swap(exchanges_.queued);
  napi_handle_scope scope;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  for (const Queued& queued : telling_) tell(queued);
  deliver();
  napi_close_handle_scope(env_, scope);
  telling_.clear();
}

void Delivery::tell(const Queued& queued) {
  if (queued.notice == Notice::kGone || queued.notice == Notice::kFlushed) {
    reserve(0);
    push(queued.notice == Notice::kGone ? kGone : kFlushed);
    push(static_cast<int32_t>(queued.slot));
    push(static_cast<int32_t>(queued.generation));
    return;
  }
  HttpConnection* connection = exchanges_.find(queued.slot, queued.generation);
  if (connection == nullptr || !connection->expects()) return;
  if (queued.notice == Notice::kRequest) {
    tellRequest(*connection, queued);
    return;
  }
  reserve(connection->bodyIsLarge() ? 0 : connection->bodyLength());
  if (!stillExpected(queued)) return;
  push(kBody);
  push(static_cast<int32_t>(queued.slot));
  push(static_cast<int32_t>(queued.generation));
  body(*connection);
}

/** What was told meanwhile may have closed the server. */
bool Delivery::stillExpected(const Queued& queued) const {
  const HttpConnection* connection = exchanges_.find(queued.slot, queued.generation);
  return connection != nullptr && connection->expects();
}

void Delivery::tellRequest(HttpConnection& connection, const Queued& queued) {
  const Head& head = connection.head();
  // A header may be a field and asked for besides.
  reserve(2 * connection.headLength() + 16 * kFields + (connection.bodyIsLarge() ? 0 : connection.bodyLength()));
  if (!stillExpected(queued)) return;
  const char* const text = connection.headText();
  const int32_t index = known(0, text + head.path.at, head.path.length);
  int32_t numbers[kMostAsked];
  for (uint32_t asked = 0; asked < head.askedNames; asked++) {
    if ((head.askedPresent >> asked & 1u) == 0) continue;
    numbers[asked] = exchanges_.asked.unalike(asked) ? -1 : value(asked, text + head.asked[asked].at, head.asked[asked].length);
  }
  push(kRequest);
  push(static_cast<int32_t>(queued.slot));
  push(static_cast<int32_t>(queued.generation));
  push(head.post ? 1 : head.get ? 2 : head.headOnly ? 3 : 0);
  push(index);
  push(static_cast<int32_t>(head.contentLength & 0x3fffffff));
  push(static_cast<int32_t>(head.contentLength >> 30));
  connection.told();
  push(connection.bodyComplete() ? 1 : 0);
  if (connection.bodyComplete()) {
    body(connection);
  } else {
    push(0);
    push(0);
  }
  push(static_cast<int32_t>(head.present));
  for (int field = 0; field < kFields; field++) {
    if ((head.present >> field & 1u) != 0) place(text + head.fields[field].at, head.fields[field].length);
  }
  push(static_cast<int32_t>(head.askedNames << kMostAsked | head.askedPresent | (head.askedRepeats ? kRepeats : 0)));
  for (uint32_t asked = 0; asked < head.askedNames; asked++) {
    if ((head.askedPresent >> asked & 1u) == 0) continue;
    if (numbers[asked] < 0) {
      place(text + head.asked[asked].at, head.asked[asked].length);
    } else {
      push(numbers[asked]);
      push(kByNumber);
    }
  }
}

void Delivery::body(HttpConnection& connection) {
  const size_t length = connection.bodyLength();
  if (connection.bodyIsLarge()) {
    push(object(connection.takeLarge()));
    push(0);
    return;
  }
  blockUsed_ = aligned(blockUsed_);
  push(-1 - static_cast<int32_t>(length));
  push(static_cast<int32_t>(blockUsed_));
  std::memcpy(block_ + blockUsed_, connection.body(), length);
  blockUsed_ += length;
}

/** The number under which JavaScript knows a text. Bounded: one text for each number, a newcomer takes it over. */
int32_t Delivery::known(size_t table, const char* text, size_t length) {
  uint32_t hash = static_cast<uint32_t>(length);
  for (size_t i = 0; i < length; i++) hash = hash * 31 + static_cast<uint8_t>(text[i]);
  const size_t number = table * kTexts + ((hash ^ (hash >> 15)) & (kTexts - 1));
  if (number >= texts_.size()) texts_.resize((table + 1) * kTexts);
  std::string& last = texts_[number];
  if (last.size() == length && std::memcmp(last.data(), text, length) == 0) return static_cast<int32_t>(number);
  last.assign(text, length);
  push(kText);
  push(static_cast<int32_t>(number));
  place(text, length);
  return static_cast<int32_t>(number);
}

/** The number of a header's value, -1: it has none, being empty or long. Regions and users come again and again. */
int32_t Delivery::value(size_t place, const char* text, size_t length) {
  return length == 0 || length > kLongestValue ? -1 : known(1 + place, text, length);
}

void Delivery::place(const char* bytes, size_t length) {
  push(static_cast<int32_t>(blockUsed_));
  push(static_cast<int32_t>(length));
  std::memcpy(block_ + blockUsed_, bytes, length);
  blockUsed_ += length;
}

/** Gives a body to JavaScript as it is, without a copy where the engine allows that. */
int32_t Delivery::object(LargeBody&& body) {
  napi_value buffer;
  void* data = nullptr;
  const auto release = [](napi_env, void* bytes, void*) { std::free(bytes); };
  if (objects_ == nullptr) napi_create_array(env_, &objects_);
  if (napi_create_external_arraybuffer(env_, body.bytes, body.length, release, nullptr, &buffer) != napi_ok) {
    const bool copied = napi_create_arraybuffer(env_, body.length, &data, &buffer) == napi_ok;
    if (copied) std::memcpy(data, body.bytes, body.length);
    else napi_get_null(env_, &buffer);
    std::free(body.bytes);
  }
  napi_set_element(env_, objects_, static_cast<uint32_t>(objectCount_), buffer);
  return objectCount_++;
}

/** Sees to it that another request's words, and so many bytes of the block, are free. */
void Delivery::reserve(size_t bytes) {
  if (count_ + kMostWords > kWords || blockUsed_ + bytes + 8 > kBlockBytes) deliver();
}

void Delivery::deliver() {
  if (count_ == 0) return;
  napi_value arguments[2];
  napi_create_int32(env_, count_, &arguments[0]);
  napi_get_undefined(env_, &arguments[1]);
  if (objects_ != nullptr) arguments[1] = objects_;
  count_ = 0;
  blockUsed_ = 0;
  objects_ = nullptr;
  objectCount_ = 0;
  callBack(env_, turn_, 2, arguments);
}

}  // namespace switchyard::http
