#include "decode.h"

#include "elements.h"
#include "nested.h"

namespace switchyard {
namespace {

/** Texts up to this length are copied next to readable memory, so that the fast loop reads them to their end. */
constexpr size_t kSmallText = 4096;
constexpr size_t kPadding = 64;
/** Larger tensors get a buffer of their own (SHARED_LIMIT in src/protocol/json/block.ts). */
constexpr int64_t kSlabTensor = 4096;
constexpr int64_t kMaxCount = (1ll << 53) - 1;
constexpr int kComparedNames = 64;

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

class Decoder {
 public:
  Decoder(Body body, Slab slab, int32_t* meta, BufferSource buffers)
      : body_(body), slab_(slab), meta_(meta), buffers_(buffers) {}

  /** `copy`: memory for a small text, kSmallText + kPadding bytes. */
  bool run(uint8_t* copy) { return begin(copy) && readRequest() && finish(); }

  /** Goes on with the input for which there was no buffer, from its beginning. */
  bool resume() {
    bool open;
    cursor_.at = inputAt_;
    if (nested_ >= 0) return readNested() && cursor_.more('}', open) && readNestedMembers(open) && finish();
    return readEachInput() && cursor_.more('}', open) && readMembers(open) && finish();
  }

 private:
  bool begin(uint8_t* copy) {
    const int64_t jsonLength = meta_[kInputs] < 0 ? static_cast<int64_t>(body_.length) : meta_[kInputs];
    if (body_.length > INT32_MAX || jsonLength > static_cast<int64_t>(body_.length)) return false;
    binaryAt_ = meta_[kInputs] < 0 ? -1 : jsonLength;
    nested_ = meta_[kNested];
    if (nested_ >= kTypes || nested_ == kBytes) return false;
    size_t end = jsonLength;
    while (end > 0 && isSpace(body_.bytes[end - 1])) end--;
    if (end == 0 || (body_.bytes[end - 1] != '}' && body_.bytes[end - 1] != ']')) return false;
    const uint8_t* text = body_.bytes;
    readable_ = text + body_.length;
    if (end <= kSmallText) {
      std::memcpy(copy, text, end);
      std::memset(copy + end, 0, kPadding);
      text = copy;
      readable_ = copy + end + kPadding;
    }
    cursor_ = {text, text, text + end};
    slabUsed_ = meta_[kSlab];
    meta_[kId] = meta_[kParameters] = meta_[kOutputs] = -1;
    return true;
  }

  bool finish() {
    if (!cutBinary()) return false;
    meta_[kInputs] = inputs_;
    meta_[kSlab] = static_cast<int32_t>(slabUsed_);
    return true;
  }

  bool readRequest() {
    bool open;
    if (!cursor_.expect('{')) return false;
    cursor_.enter('}', open);
    return nested_ >= 0 ? readNestedMembers(open) : readMembers(open);
  }

  bool readNestedMembers(bool open) {
    while (open) {
      Text key;
      Text signature;
      if (!cursor_.key(key)) return false;
      const bool columns = key.is("inputs", 6);
      if (columns || key.is("instances", 9)) {
        if (inputs_ >= 0) return false;
        meta_[kNested] = columns;
        cursor_.peek();
        inputAt_ = cursor_.at;
        if (!readNested()) return false;
      } else if (key.is("signature_name", 14) ? !cursor_.plainString(signature) : !cursor_.skipValue()) {
        return false;
      }
      if (!cursor_.more('}', open)) return false;
    }
    return inputs_ >= 0 && cursor_.peek() == 0 && cursor_.at == cursor_.end;
  }

  /** The only tensor. Measured once: it is read again when there was no buffer. */
  bool readNested() {
    if (shape_.rank == 0) {
      Cursor ahead = cursor_;
      if (!measureNested(ahead, shape_)) return false;
    }
    Input input;
    input.name = {cursor_.begin, 0};
    input.type = nested_;
    input.rank = shape_.rank;
    input.count = shape_.count;
    std::memcpy(input.dims, shape_.dims, shape_.rank * sizeof(int32_t));
    inputs_ = 0;
    if (!readData(input) || !note(input)) return false;
    inputs_ = 1;
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
    Text id;
    if (!cursor_.plainString(id)) return false;
    meta_[kId] = offset(id.at);
    meta_[kIdLength] = id.length;
    return true;
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
    if (bytes > INT32_MAX) return false;
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

  /** Room for the tensor read next. */
  uint8_t* place(int64_t bytes) {
    placedBytes_ = static_cast<int32_t>(bytes);
    if (bytes <= kSlabTensor && slabUsed_ + static_cast<size_t>(bytes) <= slab_.length) {
      place_ = kInSlab;
      placedAt_ = static_cast<int32_t>(slabUsed_);
      slabUsed_ += (bytes + 7) & ~7ll;
      return slab_.bytes + placedAt_;
    }
    uint8_t* const own = buffers_.allocate(buffers_.context, bytes);
    if (own == nullptr) return nullptr;
    place_ = kOwn + buffersUsed_++;
    placedAt_ = 0;
    return own;
  }

  /** Names of the inputs before are compared one by one; with many inputs that is left to the twin. */
  bool nameIsNew(const Text& name) {
    if (inputs_ == kComparedNames) return false;
    for (int i = 0; i < inputs_; i++) {
      if (names_[i].length == name.length && std::memcmp(names_[i].at, name.at, name.length) == 0) return false;
    }
    names_[inputs_] = name;
    return true;
  }

  bool note(const Input& input) {
    if (words_ + kInputWords + input.rank > kMetaWords) return false;
    int32_t* out = meta_ + words_;
    out[kName] = offset(input.name.at);
    out[kNameLength] = input.name.length;
    out[kType] = input.type;
    out[kRank] = input.rank;
    for (int i = 0; i < input.rank; i++) out[kInputWords + i] = input.dims[i];
    words_ += kInputWords + input.rank;
    if (input.binaryBytes < 0) {
      out[kPlace] = place_;
      out[kOffset] = placedAt_;
      out[kByteLength] = placedBytes_;
      return true;
    }
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

  bool cutBinary() const { return binaryAt_ < 0 || binaryAt_ == static_cast<int64_t>(body_.length); }

  const Body body_;
  const Slab slab_;
  int32_t* const meta_;
  const BufferSource buffers_;
  Cursor cursor_{};
  const uint8_t* inputAt_ = nullptr;
  Strings measured_{};
  int nested_ = -1;
  Shape shape_;
  const uint8_t* readable_ = nullptr;
  int64_t binaryAt_ = -1;
  size_t slabUsed_ = 0;
  int buffersUsed_ = 0;
  int inputs_ = -1;
  int words_ = kHeadWords;
  int place_ = 0;
  int32_t placedAt_ = 0;
  int32_t placedBytes_ = 0;
  Text names_[kComparedNames];
};

}  // namespace

bool decodeInferRequest(Body body, Slab slab, int32_t* meta, BufferSource buffers) {
  uint8_t copy[kSmallText + kPadding];
  if (Decoder(body, slab, meta, buffers).run(copy)) return true;
  meta[kInputs] = -1;
  return false;
}

struct SteppedDecode::State {
  State(Body body, Slab slab, int32_t* words, BufferSource buffers) : decoder(body, slab, words, buffers), meta(words) {}

  Decoder decoder;
  int32_t* const meta;
  bool begun = false;
  uint8_t copy[kSmallText + kPadding];
};

SteppedDecode::SteppedDecode(Body body, Slab slab, int32_t* meta)
    : state_(new State(body, slab, meta, {this, SteppedDecode::allocate})) {}

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
  if (resumes ? state_->decoder.resume() : state_->decoder.run(state_->copy)) return Step::kDone;
  // Without what was asked for there is no going on.
  if (wants_ && (!resumes || buffer != nullptr)) return Step::kWantsBuffer;
  state_->meta[kInputs] = -1;
  return Step::kRefused;
}

}  // namespace switchyard
