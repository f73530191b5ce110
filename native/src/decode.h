// Decodes the body of a v2 infer request (src/protocol/v2/json-scanner.ts is its twin and decides whatever is refused
// here), or of a request of TensorFlow Serving (src/protocol/tfserving/predict-request.ts and classify.ts). Plain C++: knows
// nothing of Node-API, keeps nothing after it returned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace switchyard {

// Words of the result. src/protocol/json/decoded-words.ts has them by the same names.
enum Word {
  kForm,        // in: a Form; out, of a predict request: 1 for "inputs", 0 for "instances"
  kInputs,      // in: bytes of JSON before binary tensors, -1: all of it; out: number of inputs, -1: not decoded
  kSlab,        // in: first free byte of the slab; out: the first one still free
  kId,          // offset of the id's characters, -1: none
  kIdLength,    // -1: it has escapes or more than ASCII; `kId` is where its string begins, which JavaScript reads
  kParameters,  // offset of the value of "parameters", which JavaScript reads; -1: none
  kOutputs,     // offset of the value of "outputs", likewise
  kHeadWords,
};

// What a body is. The last two name inputs, or leave the only one unnamed, that are expected: see predict.h.
enum Form { kInfer, kPredict, kExamples };

// Words of one input, behind the head or the input before; the dims follow. Of a form with expected inputs kName is the number
// of one of them.
enum InputWord { kName, kNameLength, kType, kRank, kPlace, kOffset, kByteLength, kInputWords };

// Where the bytes of an input lie: in the slab, in the body, or (kOwn + n) in the n-th buffer asked for.
enum Place { kInSlab, kInBody, kOwn };

/** Gives a buffer for a tensor that does not fit the slab; nullptr: none to be had. */
struct BufferSource {
  void* context;
  uint8_t* (*allocate)(void* context, size_t bytes);
};

struct Body {
  const uint8_t* bytes;
  size_t length;
};

struct Slab {
  uint8_t* bytes;
  size_t length;
};

constexpr int kMetaWords = 2048;

/**
 * Fills `meta` and the tensors. False (and meta[kInputs] = -1): the request is malformed or of a kind that is left to
 * the twin. The bytes of the body and of what is expected are only read.
 */
bool decodeBody(Body body, Body expected, Slab slab, int32_t* meta, BufferSource buffers);

/** The same for a thread that cannot make buffers: it stops where one is wanted, and goes on when it has been given. */
class SteppedDecode {
 public:
  enum class Step { kDone, kRefused, kWantsBuffer };

  /** All four stay the caller's, and are used by `run` only. */
  SteppedDecode(Body body, Body expected, Slab slab, int32_t* meta);
  ~SteppedDecode();

  /** Reads on. `buffer`: of `wanted` bytes, after kWantsBuffer; nullptr then: none is to be had. */
  Step run(uint8_t* buffer = nullptr);
  size_t wanted() const { return wanted_; }

 private:
  struct State;
  static uint8_t* allocate(void* context, size_t bytes);

  const std::unique_ptr<State> state_;
  uint8_t* given_ = nullptr;
  size_t wanted_ = 0;
  bool wants_ = false;
};

}  // namespace switchyard
