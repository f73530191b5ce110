#include "decode.h"

#include <optional>

#include "body_decoder.h"
#include "elements.h"
#include "nested.h"
#include "predict.h"

namespace switchyard {
namespace {

constexpr int64_t kMaxCount = (1ll << 53) - 1;

struct TypeName {
  const char* name;
  int32_t length;
};

// In the order of enum Type.
constexpr TypeName kTypeNames[kTypes] = {{"BOOL", 4},  {"UINT8", 5}, {"UINT16", 6}, {"UINT32", 6}, {"UINT64", 6},
                                         {"INT8", 4},  {"INT16", 5}, {"INT32", 5},  {"INT64", 5},  {"FP16", 4},
                                         {"BF16", 4},  {"FP32", 4},  {"FP64", 4},   {"BYTES", 5}};

int typeCode(const Text& name) {
  // Most requests are of this type.
  if (name.is("FP32", 4)) return kFp32;
  for (int code = 0; code < kTypes; code++) {
    if (name.is(kTypeNames[code].name, kTypeNames[code].length)) return code;
  }
  return -1;
}

bool nameAllowed(const Text& name) {
  return name.length > 0 && !name.is("__proto__", 9) && !name.is("constructor", 11) && !name.is("prototype", 9);
}

struct Input {
  Text name{nullptr, 0};
  int type = -1;
  int rank = -1;
  int32_t dims[kMaxRank];
  int64_t count = 1;
  const uint8_t* data = nullptr;
  int32_t binaryBytes = -1;
};

/** Strings that were measured: where they begin and end, and their size as a tensor. */
struct Strings {
  const uint8_t* from;
  const uint8_t* to;
  int64_t bytes;
};

class InferDecoder final : public BodyDecoder {
 public:
  using BodyDecoder::BodyDecoder;

  bool run(uint8_t* copy) override {
    const int64_t jsonLength = meta_[kInputs] < 0 ? static_cast<int64_t>(body_.length) : meta_[kInputs];
    if (jsonLength > static_cast<int64_t>(body_.length)) return false;
    binaryAt_ = meta_[kInputs] < 0 ? -1 : jsonLength;
    bool open;
    if (!begin(copy, jsonLength) || !cursor_.expect('{')) return false;
    cursor_.enter('}', open);
    return readMembers(open) && end();
  }

  /** Goes on with the input for which there was no buffer, from its beginning. */
  bool resume() override {
    bool open;
    cursor_.at = inputAt_;
    return readEachInput() && cursor_.more('}', open) && readMembers(open) && end();
  }

 private:
  bool end() {
    if (binaryAt_ >= 0 && binaryAt_ != static_cast<int64_t>(body_.length)) return false;
    finish(inputs_);
    return true;
  }

  bool readMembers(bool open) {
    while (open) {
      Text key;
      if (!cursor_.key(key)) return false;
      if (key.is("inputs", 6)) {
        if (inputs_ >= 0 || !readInputs()) return false;
      } else if (key.is("id", 2)) {
        if (meta_[kId] >= 0 || !readId()) return false;
      } else if (key.is("parameters", 10)) {
        if (meta_[kParameters] >= 0 || !noteSection(kParameters)) return false;
      } else if (key.is("outputs", 7)) {
        if (meta_[kOutputs] >= 0 || !noteSection(kOutputs)) return false;
      } else if (!cursor_.skipValue()) {
        return false;
      }
      if (!cursor_.more('}', open)) return false;
    }
    return inputs_ >= 0 && cursor_.peek() == 0 && cursor_.at == cursor_.end;
  }

  int32_t offset(const uint8_t* at) const { return static_cast<int32_t>(at - cursor_.begin); }

  bool readId() {
    if (cursor_.peek() == 'n') {
      meta_[kId] = offset(cursor_.at);
      meta_[kIdLength] = 0;
      return cursor_.literal("null", 4);
    }
    const uint8_t* from = cursor_.at;
    Text id;
    if (cursor_.plainString(id)) {
      meta_[kId] = offset(id.at);
      meta_[kIdLength] = id.length;
      return true;
    }
    cursor_.at = from;
    meta_[kId] = offset(from);
    meta_[kIdLength] = -1;
    return cursor_.peek() == '"' && cursor_.skipValue();
  }

  /** Where a value begins that JavaScript reads. */
  bool noteSection(int word) {
    cursor_.peek();
    meta_[word] = offset(cursor_.at);
    return cursor_.skipValue();
  }

  bool readInputs() {
    bool open;
    if (!cursor_.expect('[')) return false;
    cursor_.enter(']', open);
    inputs_ = 0;
    return !open || readEachInput();
  }

  bool readEachInput() {
    for (bool open = true; open;) {
      Input input;
      inputAt_ = cursor_.at;
      if (!readInput(input) || !cursor_.more(']', open)) return false;
      inputs_++;
    }
    return true;
  }

  bool readInput(Input& input) {
    bool open;
    bool hasParameters = false;
    if (!cursor_.expect('{')) return false;
    cursor_.enter('}', open);
    bool stored = false;
    while (open) {
      Text key;
      if (!cursor_.key(key)) return false;
      if (key.is("name", 4)) {
        if (input.name.at != nullptr || !cursor_.plainString(input.name) || !nameAllowed(input.name)) return false;
      } else if (key.is("shape", 5)) {
        if (input.rank >= 0 || !readShape(input)) return false;
      } else if (key.is("datatype", 8)) {
        Text type;
        if (input.type >= 0 || !cursor_.plainString(type)) return false;
        input.type = typeCode(type);
        if (input.type < 0) return false;
      } else if (key.is("data", 4)) {
        if (input.data != nullptr) return false;
        cursor_.peek();
        input.data = cursor_.at;
        stored = input.type >= 0 && input.rank >= 0;
        if (stored ? !readData(input) : !cursor_.skipValue()) return false;
      } else if (key.is("parameters", 10)) {
        if (hasParameters || !readInputParameters(input)) return false;
        hasParameters = true;
      } else if (!cursor_.skipValue()) {
        return false;
      }
      if (!cursor_.more('}', open)) return false;
    }
    if (input.name.at == nullptr || input.type < 0 || input.rank < 0) return false;
    if ((input.data == nullptr) == (input.binaryBytes < 0)) return false;
    if (input.data != nullptr && !stored) {
      const uint8_t* resume = cursor_.at;
      cursor_.at = input.data;
      if (!readData(input)) return false;
      cursor_.at = resume;
    }
    return nameIsNew(input.name) && note(input);
  }

  bool readShape(Input& input) {
    bool open;
    if (!cursor_.expect('[')) return false;
    cursor_.enter(']', open);
    input.rank = 0;
    while (open) {
      int32_t dim;
      if (input.rank == kMaxRank || !cursor_.smallInteger(dim)) return false;
      input.dims[input.rank++] = dim;
      // Both factors are below 2^53 and 2^31.
      const unsigned __int128 product = static_cast<unsigned __int128>(input.count) * dim;
      if (product > static_cast<unsigned __int128>(kMaxCount)) return false;
      input.count = static_cast<int64_t>(product);
      if (!cursor_.more(']', open)) return false;
    }
    return true;
  }

  bool readInputParameters(Input& input) {
    if (cursor_.peek() == 'n') return cursor_.literal("null", 4);
    bool open;
    if (!cursor_.expect('{')) return false;
    cursor_.enter('}', open);
    while (open) {
      Text key;
      if (!cursor_.key(key)) return false;
      if (key.is("binary_data_size", 16)) {
        if (input.binaryBytes >= 0 || !cursor_.smallInteger(input.binaryBytes)) return false;
      } else if (key.length >= 14 && std::memcmp(key.at, "shared_memory_", 14) == 0) {
        return false;
      } else if (!cursor_.skipValue()) {
        return false;
      }
      if (!cursor_.more('}', open)) return false;
    }
    return true;
  }

  bool readData(Input& input) {
    if (cursor_.peek() != '[' || input.type == kFp16 || input.type == kBf16) return false;
    // Each element takes at least a digit and a comma: a larger shape cannot be filled.
    if (input.count > (cursor_.end - cursor_.at) / 2 + 1) return false;
    int64_t bytes = input.count * kElementBytes[input.type];
    Cursor start = cursor_;
    if (input.type == kBytes && !measure(input.count, bytes)) return false;
    uint8_t* out = place(bytes);
    if (out == nullptr) return false;
    if (input.type == kBytes) {
      copyStrings(start, input.count, out);
      return true;
    }
    return readNumbers(cursor_, readable_, static_cast<Type>(input.type), input.count, out);
  }

  /** Once for each input: it is read again when there was no buffer. */
  bool measure(int64_t count, int64_t& bytes) {
    if (cursor_.at == measured_.from) {
      cursor_.at = measured_.to;
      bytes = measured_.bytes;
      return true;
    }
    const uint8_t* const from = cursor_.at;
    if (!measureStrings(cursor_, count, bytes)) return false;
    measured_ = {from, cursor_.at, bytes};
    return true;
  }

  bool nameIsNew(const Text& name) {
    if (inputs_ == kMaxInputs) return false;
    for (int i = 0; i < inputs_; i++) {
      if (names_[i].length == name.length && std::memcmp(names_[i].at, name.at, name.length) == 0) return false;
    }
    names_[inputs_] = name;
    return true;
  }

  bool note(const Input& input) {
    int32_t* const out = BodyDecoder::note(offset(input.name.at), input.name.length, input.type, input.rank, input.dims);
    if (out == nullptr) return false;
    if (input.binaryBytes < 0) return true;
    if (binaryAt_ < 0 || binaryAt_ + input.binaryBytes > static_cast<int64_t>(body_.length)) return false;
    out[kPlace] = kInBody;
    out[kOffset] = static_cast<int32_t>(binaryAt_);
    out[kByteLength] = input.binaryBytes;
    binaryAt_ += input.binaryBytes;
    const int size = kElementBytes[input.type];
    if (size > 0) return input.count <= INT32_MAX && input.count * size == input.binaryBytes;
    return countBytesElements(body_.bytes + out[kOffset], input.binaryBytes) == input.count;
  }

  /** Elements that are a length of four bytes and as many bytes; -1: the last one is cut off. */
  static int64_t countBytesElements(const uint8_t* bytes, int64_t length) {
    int64_t count = 0;
    int64_t at = 0;
    while (at < length) {
      if (length - at < 4) return -1;
      uint32_t size;
      std::memcpy(&size, bytes + at, 4);
      at += 4;
      if (size > length - at) return -1;
      at += size;
      count++;
    }
    return count;
  }

  const uint8_t* inputAt_ = nullptr;
  Strings measured_{};
  int64_t binaryAt_ = -1;
  int inputs_ = -1;
  Text names_[kMaxInputs];
};

/** The decoder of the form that `meta` tells. */
class AnyDecoder {
 public:
  AnyDecoder(Body body, Body expected, Slab slab, int32_t* meta, BufferSource buffers) {
    if (meta[kForm] == kInfer) infer_.emplace(body, slab, meta, buffers);
    else predict_.emplace(body, expected, slab, meta, buffers);
  }

  BodyDecoder& get() {
    if (infer_.has_value()) return *infer_;
    return *predict_;
  }

 private:
  std::optional<InferDecoder> infer_;
  std::optional<PredictDecoder> predict_;
};

}  // namespace

bool decodeBody(Body body, Body expected, Slab slab, int32_t* meta, BufferSource buffers) {
  uint8_t copy[kSmallText + kPadding];
  if (AnyDecoder(body, expected, slab, meta, buffers).get().run(copy)) return true;
  meta[kInputs] = -1;
  return false;
}

struct SteppedDecode::State {
  State(Body body, Body expected, Slab slab, int32_t* words, BufferSource buffers)
      : decoder(body, expected, slab, words, buffers), meta(words) {}

  AnyDecoder decoder;
  int32_t* const meta;
  bool begun = false;
  uint8_t copy[kSmallText + kPadding];
};

SteppedDecode::SteppedDecode(Body body, Body expected, Slab slab, int32_t* meta)
    : state_(new State(body, expected, slab, meta, {this, SteppedDecode::allocate})) {}

SteppedDecode::~SteppedDecode() = default;

/** The buffer that was given; where there is none, what is wanted is noted. */
uint8_t* SteppedDecode::allocate(void* context, size_t bytes) {
  auto& self = *static_cast<SteppedDecode*>(context);
  uint8_t* const given = bytes == self.wanted_ ? self.given_ : nullptr;
  self.given_ = nullptr;
  self.wants_ = given == nullptr;
  self.wanted_ = bytes;
  return given;
}

SteppedDecode::Step SteppedDecode::run(uint8_t* buffer) {
  const bool resumes = state_->begun;
  state_->begun = true;
  given_ = buffer;
  wants_ = false;
  BodyDecoder& decoder = state_->decoder.get();
  if (resumes ? decoder.resume() : decoder.run(state_->copy)) return Step::kDone;
  // Without what was asked for there is no going on.
  if (wants_ && (!resumes || buffer != nullptr)) return Step::kWantsBuffer;
  state_->meta[kInputs] = -1;
  return Step::kRefused;
}

}  // namespace switchyard
