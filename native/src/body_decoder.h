// What the decoders of bodies have in common: the text, the words of the result, and room for tensors.
#pragma once

#include <cstring>

#include "decode.h"
#include "text.h"
#include "types.h"

namespace switchyard {

/** Texts up to this length are copied next to readable memory, so that the fast loop reads them to their end. */
constexpr size_t kSmallText = 4096;
constexpr size_t kPadding = 64;
/** Larger tensors get a buffer of their own (SHARED_LIMIT in src/protocol/json/block.ts). */
constexpr int64_t kSlabTensor = 4096;
/** Bodies with more inputs are left to the twin: names are compared one by one. */
constexpr int kMaxInputs = 64;

class BodyDecoder {
 public:
  BodyDecoder(Body body, Slab slab, int32_t* meta, BufferSource buffers)
      : body_(body), slab_(slab), meta_(meta), buffers_(buffers) {}
  virtual ~BodyDecoder() = default;

  /** `copy`: memory for a small text, kSmallText + kPadding bytes. */
  virtual bool run(uint8_t* copy) = 0;

  /** Goes on where `run` or `resume` gave up for want of a buffer. */
  virtual bool resume() = 0;

 protected:
  /** Begins with the first `length` bytes of the body. */
  bool begin(uint8_t* copy, size_t length) {
    if (body_.length > INT32_MAX) return false;
    size_t end = length;
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

  void finish(int inputs) {
    meta_[kInputs] = inputs;
    meta_[kSlab] = static_cast<int32_t>(slabUsed_);
  }

  /** Room for the tensor that is noted next. */
  uint8_t* place(int64_t bytes) {
    if (bytes > INT32_MAX) return nullptr;
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

  /** The words of the next input, where `place` found room for it; nullptr: there are no words left. */
  int32_t* note(int32_t name, int32_t nameLength, int type, int rank, const int32_t* dims) {
    if (words_ + kInputWords + rank > kMetaWords) return nullptr;
    int32_t* const out = meta_ + words_;
    out[kName] = name;
    out[kNameLength] = nameLength;
    out[kType] = type;
    out[kRank] = rank;
    out[kPlace] = place_;
    out[kOffset] = placedAt_;
    out[kByteLength] = placedBytes_;
    for (int i = 0; i < rank; i++) out[kInputWords + i] = dims[i];
    words_ += kInputWords + rank;
    return out;
  }

  const Body body_;
  const Slab slab_;
  int32_t* const meta_;
  const BufferSource buffers_;
  Cursor cursor_{};
  /** The first byte behind the text that must not be read. */
  const uint8_t* readable_ = nullptr;

 private:
  size_t slabUsed_ = 0;
  int buffersUsed_ = 0;
  int words_ = kHeadWords;
  int place_ = 0;
  int32_t placedAt_ = 0;
  int32_t placedBytes_ = 0;
};

}  // namespace switchyard
