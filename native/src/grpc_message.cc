#include "grpc_message.h"

#include <cstring>

#include "types.h"

namespace switchyard::grpc {
namespace {

constexpr uint64_t kMaxElements = uint64_t{1} << 32;

struct TypeName {
  const char* name;
  uint32_t length;
};

// In the order of enum Type.
constexpr TypeName kNames[kTypes] = {{"BOOL", 4},  {"UINT8", 5}, {"UINT16", 6}, {"UINT32", 6}, {"UINT64", 6},
                                     {"INT8", 4},  {"INT16", 5}, {"INT32", 5},  {"INT64", 5},  {"FP16", 4},
                                     {"BF16", 4},  {"FP32", 4},  {"FP64", 4},   {"BYTES", 5}};

bool same(const Piece& a, const Piece& b) {
  return a.length == b.length && (a.length == 0 || std::memcmp(a.at, b.at, a.length) == 0);
}

int typeCode(const Piece& name) {
  if (name.length == 4 && std::memcmp(name.at, "FP32", 4) == 0) return kFp32;
  for (int code = 0; code < kTypes; code++) {
    if (name.length == kNames[code].length && std::memcmp(name.at, kNames[code].name, name.length) == 0) return code;
  }
  return -1;
}

/** A cursor over the fields of one message. Tags of one byte are all that ordinary requests hold. */
class Reader {
 public:
  Reader(const uint8_t* at, const uint8_t* end) : at_(at), end_(end) {}
  explicit Reader(const Piece& piece) : at_(piece.at), end_(piece.at + piece.length) {}

  bool more() const { return at_ < end_; }

  uint8_t tag() { return *at_++; }

  bool varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 63 && at_ < end_; shift += 7) {
      const uint8_t byte = *at_++;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  bool piece(Piece& out) {
    uint64_t length;
    if (at_ < end_ && *at_ < 0x80) length = *at_++;
    else if (!varint(length)) return false;
    if (length > static_cast<uint64_t>(end_ - at_)) return false;
    out.at = at_;
    out.length = static_cast<uint32_t>(length);
    at_ += length;
    return true;
  }

  /** A string that may serve as a key of names: short, ASCII. */
  bool name(Piece& out) {
    if (!piece(out) || out.length > kMaxName) return false;
    uint8_t seen = 0;
    for (uint32_t i = 0; i < out.length; i++) seen |= out.at[i];
    return seen < 0x80;
  }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
};

bool addDim(InputView& input, uint64_t dim) {
  if (input.rank == kMaxRank || dim > INT32_MAX) return false;
  input.dims[input.rank++] = static_cast<int32_t>(dim);
  return true;
}

bool readInput(const Piece& piece, InputView& input) {
  input.name = {nullptr, 0};
  input.type = -1;
  input.rank = 0;
  Reader reader(piece);
  while (reader.more()) {
    switch (reader.tag()) {
      case 0x0a:
        if (!reader.name(input.name)) return false;
        break;
      case 0x12: {
        Piece type;
        if (!reader.piece(type)) return false;
        input.type = typeCode(type);
        if (input.type < 0) return false;
        break;
      }
      case 0x18: {
        uint64_t dim;
        if (!reader.varint(dim) || !addDim(input, dim)) return false;
        break;
      }
      case 0x1a: {
        Piece packed;
        if (!reader.piece(packed)) return false;
        Reader dims(packed);
        while (dims.more()) {
          uint64_t dim;
          if (!dims.varint(dim) || !addDim(input, dim)) return false;
        }
        break;
      }
      default:
        return false;
    }
  }
  return input.type >= 0;
}

/** BYTES: the data holds exactly `count` elements, each a length of four bytes and that many more. */
bool holdsElements(const Piece& data, uint64_t count) {
  uint32_t at = 0;
  uint64_t found = 0;
  while (at < data.length) {
    uint32_t size;
    if (data.length - at < 4) return false;
    std::memcpy(&size, data.at + at, 4);
    at += 4;
    if (size > data.length - at) return false;
    at += size;
    found++;
  }
  return found == count;
}

bool fits(const InputView& input) {
  uint64_t count = 1;
  for (int i = 0; i < input.rank; i++) {
    count *= static_cast<uint64_t>(input.dims[i]);
    if (count > kMaxElements) return false;
  }
  const int size = kElementBytes[input.type];
  return size == 0 ? holdsElements(input.data, count) : count * static_cast<uint64_t>(size) == input.data.length;
}

bool namesDiffer(const InferView& view) {
  for (int i = 1; i < view.inputCount; i++) {
    for (int j = 0; j < i; j++) {
      if (same(view.inputs[i].name, view.inputs[j].name)) return false;
    }
  }
  for (int i = 1; i < view.outputCount; i++) {
    for (int j = 0; j < i; j++) {
      if (same(view.outputs[i], view.outputs[j])) return false;
    }
  }
  return true;
}

/** A requested output that gives nothing but its name. */
bool readOutput(const Piece& piece, Piece& name) {
  name = {nullptr, 0};
  Reader reader(piece);
  while (reader.more()) {
    if (reader.tag() != 0x0a || !reader.name(name)) return false;
  }
  return true;
}

}  // namespace

bool decodeInferMessage(const uint8_t* message, size_t length, InferView& view) {
  if (length > INT32_MAX) return false;
  view.model = view.version = view.id = {nullptr, 0};
  view.inputCount = view.outputCount = 0;
  int raws = 0;
  Piece piece;
  Reader reader(message, message + length);
  while (reader.more()) {
    switch (reader.tag()) {
      case 0x0a:
        if (!reader.name(view.model)) return false;
        break;
      case 0x12:
        if (!reader.name(view.version)) return false;
        break;
      case 0x1a:
        if (!reader.piece(view.id)) return false;
        break;
      case 0x2a:
        if (view.inputCount == kMaxTensors || !reader.piece(piece)) return false;
        if (!readInput(piece, view.inputs[view.inputCount++])) return false;
        break;
      case 0x32:
        if (view.outputCount == kMaxTensors || !reader.piece(piece)) return false;
        if (!readOutput(piece, view.outputs[view.outputCount++])) return false;
        break;
      case 0x3a:
        // Raw contents may come before the inputs they belong to: their place is kept by number.
        if (raws == kMaxTensors || !reader.piece(view.inputs[raws++].data)) return false;
        break;
      default:
        return false;
    }
  }
  if (raws != view.inputCount) return false;
  for (int i = 0; i < view.inputCount; i++) {
    if (!fits(view.inputs[i])) return false;
  }
  return namesDiffer(view);
}

}  // namespace switchyard::grpc
