// A libFuzzer target for the shared sessions of native/src, over a table of entries of its own:  .ci/fuzz.sh SECONDS
// Two threads do what the bytes of an input say: open, run and close sessions of a few keys, while entries fail when the
// bytes say so. The table counts what it has made: in the end nothing may be left, and no session may go while it runs.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <thread>

#include "ort_sessions.h"

namespace {

using namespace switchyard::ort;

void require(bool holds) {
  if (!holds) std::abort();
}

std::atomic<int> alive{0};
std::atomic<uint32_t> failing{0};
std::atomic<uint32_t> calls{0};
/** Whether the model's symbols say another shape of an output than it has. */
std::atomic<bool> lying{false};

/** Every object that the runtime would give out, whatever it is. */
struct Object {
  std::atomic<int> running{0};
  int type = 1;
  std::vector<int64_t> dims;
  const char* symbol = "";
  std::string bytes;
  std::vector<std::string> strings;
  void* borrowed = nullptr;
};

struct Message {
  std::string text = "it was to fail";
};

Object* make() {
  alive++;
  return new Object();
}

void release(Object* object) {
  if (object == nullptr) return;
  require(object->running == 0);
  alive--;
  delete object;
}

/** Every n-th call fails, where n is of the input's choosing; 0: none. */
Message* maybe() {
  const uint32_t every = failing;
  if (every == 0 || ++calls % every != 0) return nullptr;
  alive++;
  return new Message();
}

const char* message(const Message* it) { return it->text.c_str(); }
void releaseMessage(Message* it) {
  alive--;
  delete it;
}

Message* makeInto(Object** out) {
  if (Message* failed = maybe()) return failed;
  *out = make();
  return nullptr;
}

// Created once with the process and never given back.
Object forever;

Message* createEnv(int, const char*, const Object*, Object** out) { return *out = &forever, nullptr; }
Message* memoryInfo(int, int, Object** out) { return *out = &forever, nullptr; }
Message* allocator(Object** out) { return *out = &forever, nullptr; }
Message* createSession(const Object*, const char*, const Object*, Object** out) { return makeInto(out); }
Message* option(Object*, int) { return maybe(); }
Message* plain(Object*) { return maybe(); }
Message* entry(Object*, const char*, const char*) { return maybe(); }
Message* count(const Object*, size_t* out) { return *out = 2, maybe(); }

Message* name(const Object*, size_t index, Object*, char** out) {
  if (Message* failed = maybe()) return failed;
  alive++;
  *out = strdup(index == 0 ? "numbers" : "strings");
  return nullptr;
}
Message* freeName(Object*, void* at) {
  alive--;
  std::free(at);
  return nullptr;
}

Message* typeInfo(const Object*, size_t index, Object** out) {
  if (Message* failed = makeInto(out)) return failed;
  (*out)->type = index == 0 ? 1 : kString;
  (*out)->dims = {-1, 2};
  (*out)->symbol = index == 0 ? "a" : "b";
  return nullptr;
}
Message* outputInfo(const Object* session, size_t index, Object** out) {
  if (Message* failed = typeInfo(session, index, out)) return failed;
  if (index == 0 && lying) (*out)->symbol = "b";
  return nullptr;
}
Message* symbols(const Object* tensor, const char** out, size_t length) {
  require(length == tensor->dims.size());
  if (Message* failed = maybe()) return failed;
  for (size_t i = 0; i < length; i++) out[i] = tensor->dims[i] < 0 ? tensor->symbol : "";
  return nullptr;
}
Message* cast(const Object* type, const Object** out) { return *out = type, maybe(); }
Message* elementType(const Object* tensor, int* out) { return *out = tensor->type, maybe(); }
Message* rank(const Object* tensor, size_t* out) { return *out = tensor->dims.size(), maybe(); }
Message* dims(const Object* tensor, int64_t* out, size_t length) {
  require(length == tensor->dims.size());
  if (length > 0) std::memcpy(out, tensor->dims.data(), length * sizeof(int64_t));
  return maybe();
}
size_t elements(const Object* tensor) {
  size_t product = 1;
  for (const int64_t dim : tensor->dims) product *= static_cast<size_t>(dim);
  return product;
}
Message* elementCount(const Object* tensor, size_t* out) { return *out = elements(tensor), maybe(); }

Message* tensorOver(const Object*, void* data, size_t bytes, const int64_t* shape, size_t length, int type, Object** out) {
  require(data != nullptr && type == 1);
  if (Message* failed = makeInto(out)) return failed;
  (*out)->dims.assign(shape, shape + length);
  (*out)->borrowed = data;
  (*out)->bytes.assign(static_cast<const char*>(data), bytes);
  require(elements(*out) * 4 == bytes);
  return nullptr;
}
Message* tensor(Object*, const int64_t* shape, size_t length, int type, Object** out) {
  require(type == kString);
  if (Message* failed = makeInto(out)) return failed;
  (*out)->type = type;
  (*out)->dims.assign(shape, shape + length);
  return nullptr;
}
Message* fill(Object* value, const char* const* strings, size_t length) {
  require(length == elements(value));
  value->strings.assign(strings, strings + length);
  return maybe();
}
Message* data(Object* value, void** out) { return *out = value->bytes.data(), maybe(); }
Message* stringLength(const Object* value, size_t* out) {
  *out = 0;
  for (const std::string& each : value->strings) *out += each.size();
  return maybe();
}
Message* strings(const Object* value, void* out, size_t, size_t* offsets, size_t length) {
  require(length == value->strings.size());
  size_t at = 0;
  for (size_t i = 0; i < length; i++) {
    offsets[i] = at;
    std::memcpy(static_cast<char*>(out) + at, value->strings[i].data(), value->strings[i].size());
    at += value->strings[i].size();
  }
  return maybe();
}
Message* shapeOf(const Object* value, Object** out) {
  if (Message* failed = makeInto(out)) return failed;
  (*out)->type = value->type;
  (*out)->dims = value->dims;
  return nullptr;
}

/** Output k is input k. */
Message* run(Object* session, const void*, const char* const* inputNames, const Object* const* inputs, size_t inputCount,
             const char* const* outputNames, size_t outputCount, Object** outputs) {
  session->running++;
  Message* failed = nullptr;
  for (size_t i = 0; i < outputCount && failed == nullptr; i++) {
    for (size_t k = 0; k < inputCount && failed == nullptr; k++) {
      if (std::strcmp(inputNames[k], outputNames[i]) != 0) continue;
      if (outputs[i] != nullptr) {
        // Memory of the caller's, as large as it thought.
        if (outputs[i]->dims == inputs[k]->dims) {
          std::memcpy(outputs[i]->borrowed, inputs[k]->bytes.data(), inputs[k]->bytes.size());
        } else {
          alive++;
          failed = new Message{"OrtValue shape verification failed."};
        }
        break;
      }
      failed = makeInto(&outputs[i]);
      if (failed != nullptr) break;
      outputs[i]->type = inputs[k]->type;
      outputs[i]->dims = inputs[k]->dims;
      outputs[i]->bytes = inputs[k]->bytes;
      outputs[i]->strings = inputs[k]->strings;
    }
  }
  session->running--;
  return failed;
}

const void* table[200];

void fillTable() {
  const auto put = [](int index, auto function) { table[index] = reinterpret_cast<const void*>(function); };
  put(2, message), put(7, createSession), put(9, run), put(10, makeInto), put(13, option);
  put(17, plain), put(19, plain), put(22, option), put(23, option), put(24, option), put(25, option);
  put(30, count), put(31, count), put(33, typeInfo), put(34, outputInfo), put(36, name), put(37, name);
  put(48, tensor), put(49, tensorOver), put(51, data), put(52, fill), put(53, stringLength), put(54, strings);
  put(63, symbols), put(55, cast), put(60, elementType), put(61, rank), put(62, dims), put(64, elementCount), put(65, shapeOf);
  put(69, memoryInfo), put(76, freeName), put(78, allocator), put(93, releaseMessage), put(95, release);
  put(96, release), put(98, release), put(99, release), put(100, release), put(119, createEnv), put(120, plain), put(121, makeInto);
  put(122, release), put(130, entry), put(147, option), put(148, option), put(149, option);
}

struct Taken {
  std::vector<std::string> outputs;
  static uint8_t* allocate(void* context, size_t index, const int64_t*, size_t, size_t bytes) {
    auto& self = *static_cast<Taken*>(context);
    self.outputs.resize(index + 1);
    self.outputs[index].resize(bytes + 1);
    return reinterpret_cast<uint8_t*>(self.outputs[index].data());
  }
  static void restart(void* context) { static_cast<Taken*>(context)->outputs.clear(); }
};

void act(const uint8_t* at, const uint8_t* end) {
  std::vector<std::shared_ptr<Session>> held;
  while (at < end) {
    const uint8_t choice = *at++;
    const uint8_t detail = at < end ? *at++ : 0;
    if (choice % 4 == 0) {
      std::string problem;
      bool fresh = false;
      Options options;
      options.memPattern = (detail & 4) != 0;
      options.arena = (detail & 8) != 0;
      options.entries.emplace_back("session.a", "1");
      auto session = openSession(std::string(1, static_cast<char>('a' + detail % 3)), "path", options, problem, fresh);
      require((session == nullptr) == !problem.empty());
      if (session != nullptr) held.push_back(std::move(session));
    } else if (choice % 4 == 1 && !held.empty()) {
      held.erase(held.begin() + detail % held.size());
    } else if (!held.empty()) {
      const Session& session = *held[detail % held.size()];
      const size_t rest = static_cast<size_t>(end - at);
      std::vector<uint8_t> numbers(at, at + std::min<size_t>(rest, detail & 0xF8));
      std::vector<uint8_t> texts(at, at + std::min<size_t>(rest, choice));
      const double shape[2] = {static_cast<double>(numbers.size() / 8), 2};
      const double other[2] = {static_cast<double>(choice >> 6), static_cast<double>(detail & 7)};
      Taken taken;
      const std::vector<Input> inputs = {{numbers.data(), numbers.size(), shape, 2}, {texts.data(), texts.size(), other, 2}};
      const std::vector<size_t> wanted = detail & 1 ? std::vector<size_t>{1, 0} : std::vector<size_t>{detail % 3u};
      const std::string problem = session.run(inputs, wanted, {&taken, Taken::allocate, Taken::restart});
      if (problem.empty()) {
        require(taken.outputs.size() == wanted.size());
        if (wanted.size() == 1) continue;
        // Each has one byte more. A zero byte inside a string cuts it off, so that strings may come back shorter.
        require(taken.outputs[0].size() <= texts.size() + 1 && taken.outputs[1].size() == numbers.size() + 1);
        if (!numbers.empty()) require(std::memcmp(taken.outputs[1].data(), numbers.data(), numbers.size()) == 0);
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const bool ready = [] {
    fillTable();
    return useTable(table).empty();
  }();
  require(ready);
  failing = size > 0 ? bytes[0] % 32 : 0;
  lying = size > 0 && (bytes[0] & 32) != 0;
  const uint8_t* const begin = bytes + (size > 0 ? 1 : 0);
  const uint8_t* const end = bytes + size;
  std::thread other(act, begin, end);
  act(begin + (end - begin) / 2, end);
  other.join();
  require(alive == 0);
  // Keys without a session go when the next one is opened.
  failing = 0;
  std::string problem;
  bool fresh = false;
  require(openSession("last", "path", {}, problem, fresh) != nullptr);
  require(fresh && sessionKeys() == 1);
  require(alive == 0);
  return 0;
}
