// Decodes the protobuf bytes of inference.ModelInferRequest. src/protocol/grpc/infer-decoder.ts is its twin and decides
// whatever is refused here. Plain C++: allocates nothing, keeps nothing, and its results alias the message.
#pragma once

#include <cstddef>
#include <cstdint>

namespace switchyard::grpc {

constexpr int kMaxTensors = 32;
constexpr int kMaxRank = 8;
/** Names are kept between requests up to this length; longer ones are the twin's. */
constexpr uint32_t kMaxName = 64;

struct Piece {
  const uint8_t* at;
  uint32_t length;
};

struct InputView {
  /** ASCII, like all names here. */
  Piece name;
  int type;
  int rank;
  int32_t dims[kMaxRank];
  Piece data;
};

struct InferView {
  Piece model;
  Piece version;
  /** UTF-8 as it came, of any length. */
  Piece id;
  int inputCount;
  int outputCount;
  InputView inputs[kMaxTensors];
  Piece outputs[kMaxTensors];
};

/**
 * Fills `view`. False: the message is malformed, or out of the ordinary (parameters, typed contents, unknown fields,
 * names beyond ASCII, unusual sizes), which is left to the twin. True only where the twin accepts it with the same result:
 * the bytes of each tensor are what its shape and datatype say, and no name is given twice.
 */
bool decodeInferMessage(const uint8_t* message, size_t length, InferView& view);

}  // namespace switchyard::grpc
