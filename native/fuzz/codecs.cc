// A libFuzzer target for all of native/src but the binding:  .ci/fuzz.sh SECONDS
// The first byte of an input chooses what is done with the rest. Every buffer is exactly as long as the codecs are told,
// so that the address sanitizer sees any step beyond it.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "body_decoder.h"
#include "decode.h"
#include "print.h"
#include "record_json.h"
#include "wide.h"

namespace {

using namespace switchyard;

void require(bool holds) {
  if (!holds) std::abort();
}

std::unique_ptr<uint8_t[]> exactCopy(const uint8_t* data, size_t size) {
  std::unique_ptr<uint8_t[]> copy(new uint8_t[size]);
  if (size > 0) std::memcpy(copy.get(), data, size);
  return copy;
}

struct Buffers {
  std::vector<std::unique_ptr<uint8_t[]>> list;
  std::vector<size_t> lengths;

  static uint8_t* allocate(void* context, size_t bytes) {
    auto& self = *static_cast<Buffers*>(context);
    self.list.emplace_back(new uint8_t[bytes]);
    self.lengths.push_back(bytes);
    return self.list.back().get();
  }
};

/** What is asked for. */
struct Given {
  Body body;
  Body expected;
  Form form;
  int32_t jsonLength;

  void tell(int32_t* meta) const {
    meta[kForm] = form;
    meta[kInputs] = jsonLength;
    meta[kSlab] = 0;
  }
};

/** In steps, and with each number read by itself, the same comes out: words, slab and buffers. */
void decodeInSteps(const Given& given, const int32_t* meta, Slab slab, const Buffers& buffers, int words) {
  const std::unique_ptr<uint8_t[]> ownSlab(new uint8_t[slab.length]);
  int32_t ownMeta[kMetaWords];
  given.tell(ownMeta);
  Buffers own;
  SteppedDecode decode(given.body, given.expected, {ownSlab.get(), slab.length}, ownMeta);
  wide::enabled = false;
  SteppedDecode::Step step = decode.run();
  while (step == SteppedDecode::Step::kWantsBuffer) step = decode.run(Buffers::allocate(&own, decode.wanted()));
  wide::enabled = wide::supported();
  require((step == SteppedDecode::Step::kDone) == (meta[kInputs] >= 0));
  require((ownMeta[kInputs] >= 0) == (meta[kInputs] >= 0));
  if (step != SteppedDecode::Step::kDone) return;
  // The length of an id that is absent is nobody's.
  if (meta[kId] < 0) ownMeta[kIdLength] = meta[kIdLength];
  require(std::memcmp(ownMeta, meta, words * sizeof(int32_t)) == 0);
  const int32_t* input = meta + kHeadWords;
  for (int32_t i = 0; i < meta[kInputs]; i++) {
    const size_t bytes = input[kByteLength];
    if (input[kPlace] == kInSlab && bytes > 0) {
      require(std::memcmp(ownSlab.get() + input[kOffset], slab.bytes + input[kOffset], bytes) == 0);
    }
    input += kInputWords + input[kRank];
  }
  require(own.lengths == buffers.lengths);
  for (size_t i = 0; i < own.list.size(); i++) {
    require(std::memcmp(own.list[i].get(), buffers.list[i].get(), own.lengths[i]) == 0);
  }
}

void decode(const uint8_t* data, size_t size, const std::string& list, Form form, int32_t jsonLength, size_t slabBytes) {
  const auto body = exactCopy(data, size);
  const auto expected = exactCopy(reinterpret_cast<const uint8_t*>(list.data()), list.size());
  const Given given{{body.get(), size}, {expected.get(), list.size()}, form, jsonLength};
  // Slabs begin at a multiple of eight, as new[] gives it.
  const std::unique_ptr<uint8_t[]> slab(new uint8_t[slabBytes]);
  int32_t meta[kMetaWords];
  given.tell(meta);
  Buffers buffers;
  const bool taken =
      decodeBody(given.body, given.expected, {slab.get(), slabBytes}, meta, {&buffers, Buffers::allocate});
  require(size == 0 || std::memcmp(body.get(), data, size) == 0);
  require(taken == (meta[kInputs] >= 0));
  const Slab whole{slab.get(), slabBytes};
  if (!taken) return decodeInSteps(given, meta, whole, buffers, 0);
  const int32_t* input = meta + kHeadWords;
  for (int32_t i = 0; i < meta[kInputs]; i++) {
    if (form == kInfer) require(input[kName] >= 0 && static_cast<size_t>(input[kName] + input[kNameLength]) <= size);
    else require(input[kName] >= 0 && input[kName] < kMaxInputs && static_cast<size_t>(input[kName]) < list.size());
    require(input[kType] >= 0 && input[kType] < kTypes && input[kRank] >= 0 && input[kRank] <= 32);
    const auto end = static_cast<size_t>(input[kOffset]) + static_cast<size_t>(input[kByteLength]);
    if (input[kPlace] == kInSlab) require(end <= slabBytes && input[kOffset] % 8 == 0);
    if (input[kPlace] == kInBody) require(end <= size);
    if (input[kPlace] >= kOwn) require(static_cast<size_t>(input[kPlace] - kOwn) < buffers.list.size());
    int64_t count = 1;
    for (int32_t d = 0; d < input[kRank]; d++) count *= input[kInputWords + d];
    if (kElementBytes[input[kType]] > 0) require(count * kElementBytes[input[kType]] == input[kByteLength]);
    input += kInputWords + input[kRank];
  }
  decodeInSteps(given, meta, whole, buffers, static_cast<int>(input - meta));
}

std::string expectedInput(int type, bool scalar, const std::string& name) {
  const char head[] = {static_cast<char>(type), static_cast<char>(scalar), static_cast<char>(name.size()), 0};
  return std::string(head, sizeof head) + name;
}

/** Every float that was printed reads back as itself. */
template <typename T>
void readBack(const uint8_t* data, int64_t count, const uint8_t* text, const uint8_t* end) {
  const char* at = reinterpret_cast<const char*>(text);
  const char* const stop = reinterpret_cast<const char*>(end);
  for (int64_t i = 0; i < count; i++) {
    T value;
    T read;
    std::memcpy(&value, data + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    const char* comma = static_cast<const char*>(std::memchr(at, ',', stop - at));
    const char* last = comma == nullptr ? stop : comma;
    const auto result = std::from_chars(at, last, read);
    require(result.ptr == last);
    require(std::isnan(value) ? std::isnan(read) : std::memcmp(&value, &read, sizeof(T)) == 0);
    at = last + 1;
  }
}

/** One by one the same is printed as eight at a time. */
void printNarrowly(Type type, const uint8_t* data, int64_t count) {
  std::vector<uint8_t> texts[2];
  for (std::vector<uint8_t>& text : texts) {
    text.resize(count * kElementRoom);
    const Printed printed = printElements(type, data, 0, 0, count, text.data(), text.data() + text.size());
    require(printed.next == count);
    text.resize(printed.end - text.data());
    wide::enabled = !wide::enabled && wide::supported();
  }
  wide::enabled = wide::supported();
  require(texts[0] == texts[1]);
}

void print(Type type, const uint8_t* data, size_t size, size_t room) {
  const int bytes = kElementBytes[type];
  const int64_t count = bytes == 0 ? 0 : static_cast<int64_t>(size / bytes);
  const auto elements = exactCopy(data, size);
  if (type == kFp32) printNarrowly(type, elements.get(), count);
  int64_t next = 0;
  for (;;) {
    const std::unique_ptr<uint8_t[]> out(new uint8_t[room]);
    const Printed printed = printElements(type, elements.get(), next, next, count, out.get(), out.get() + room);
    require(printed.end >= out.get() && printed.end <= out.get() + room);
    require(printed.next >= next && printed.next <= count);
    const uint8_t* from = elements.get() + next * bytes;
    if (type == kFp32) readBack<float>(from, printed.next - next, out.get(), printed.end);
    if (type == kFp64) readBack<double>(from, printed.next - next, out.get(), printed.end);
    if (printed.next == count || printed.next == next) return;
    next = printed.next;
  }
}

std::string lineOf(RecordPrinter& printer, const uint8_t* data, size_t size, uint8_t* out) {
  const int64_t room = recordLineRoom(static_cast<int64_t>(size));
  const uint8_t* const end = printer.print(data, data + size, out);
  require(end == nullptr || (end > out && end <= out + room && end[-1] == '\n'));
  return end == nullptr ? "" : std::string(reinterpret_cast<char*>(out), end - out);
}

/** Also behind another one that is nearly the same: the lines must be those that each of them has alone. */
void record(const uint8_t* data, size_t size) {
  const auto bytes = exactCopy(data, size);
  const auto other = exactCopy(data, size);
  const auto room = static_cast<size_t>(recordLineRoom(static_cast<int64_t>(size)));
  const std::unique_ptr<uint8_t[]> out(new uint8_t[room]);
  const std::unique_ptr<uint8_t[]> next(new uint8_t[room]);
  for (size_t i = 0; i < std::min<size_t>(size, 8); i++) {
    const size_t changed = (i * 7919 + size / 2) % size;
    other[changed] ^= static_cast<uint8_t>(1 + i);
    RecordPrinter both;
    lineOf(both, bytes.get(), size, out.get());
    const std::string second = lineOf(both, other.get(), size, next.get());
    RecordPrinter alone;
    require(lineOf(alone, other.get(), size, next.get()) == second);
    other[changed] = bytes[changed];
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const int choice = data[0];
  const uint8_t* rest = data + 1;
  const size_t length = size - 1;
  if (choice >= 0x80) {
    print(static_cast<Type>(choice % kTypes), rest, length, kElementRoom + choice);
  } else if (choice == 'r') {
    record(rest, length);
  } else {
    // '0' to '3': all of it JSON, with much or little room; else the text ends before the body does.
    const int32_t jsonLength = choice < 0x34 ? -1 : static_cast<int32_t>(length * (0x80 - choice) / 0x4c);
    const size_t room = choice % 2 == 0 ? 65536 : 32;
    // '`' and letters: a predict request of one input, of each type; further ones: of several, or a list that is in the input.
    if (choice >= '`' && choice < '`' + kTypes) {
      decode(rest, length, expectedInput(choice - '`', false, "x"), kPredict, -1, room);
    } else if (choice >= 'n' && choice < 'r') {
      const std::string list = expectedInput(kFp32, true, "a") + expectedInput(kInt64, false, "b") +
                               expectedInput(kUint8, false, "c") + expectedInput(kFp64, true, "b64");
      decode(rest, length, list, choice < 'p' ? kPredict : kExamples, -1, room);
    } else if (choice == 's' && length > 0) {
      const size_t listed = std::min<size_t>(rest[0], length - 1);
      const std::string list(reinterpret_cast<const char*>(rest + 1), listed);
      decode(rest + 1 + listed, length - 1 - listed, list, kPredict, -1, room);
    } else {
      decode(rest, length, "", kInfer, jsonLength, room);
    }
  }
  return 0;
}
