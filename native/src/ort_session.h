// A loaded model of ONNX Runtime, run by any number of threads at once.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "ort_runtime.h"

namespace switchyard::ort {

/** ONNX's TensorProto element type of strings. */
constexpr int kString = 8;
/** Dimensions that a tensor may have, here as in the TypeScript code. */
constexpr size_t kMaxRank = 32;

/** Bytes of one element, 0 for types that cannot be passed. By ONNX's TensorProto numbers. */
size_t elementBytes(int type);

struct ValueInfo {
  std::string name;
  bool isTensor = false;
  int type = 0;
  /** -1 where symbolic. */
  std::vector<int64_t> dims;
  /** The name of each symbolic dim, '' where it has none or is no symbolic one. */
  std::vector<std::string> symbols;
};

/** Asks for the names, types and shapes of a session's inputs, or outputs. Returns what is wrong, or ''. */
std::string describe(const Runtime& runtime, SessionHandle* handle, bool inputs, std::vector<ValueInfo>& list);

/** One input of a run: its bytes are read during the run only. Strings: u32 length (little-endian) and bytes, each. */
struct Input {
  void* data = nullptr;
  size_t bytes = 0;
  const double* dims = nullptr;
  size_t rank = 0;
};

/**
 * Takes outputs: allocates `bytes` for output `index` of the run, and hears its shape. Null ends the run. `restart`: what
 * was allocated so far is of no use, all outputs come again.
 */
struct OutputSink {
  void* context;
  uint8_t* (*allocate)(void* context, size_t index, const int64_t* dims, size_t rank, size_t bytes);
  void (*restart)(void* context);
};

/** A loaded model: one copy of its weights, on which any number of threads may run at once. */
class Session {
 public:
  /** `onGpu`: what it allocates and frees may be a GPU's, which is not to happen while a graph is captured. */
  Session(const Runtime& runtime, SessionHandle* handle, bool onGpu) : runtime_(runtime), handle_(handle), onGpu_(onGpu) {}
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /** Asks for names, types and shapes. Returns what is wrong, or ''. */
  std::string describe();

  const std::vector<ValueInfo>& inputs() const { return inputs_; }
  const std::vector<ValueInfo>& outputs() const { return outputs_; }

  /**
   * `inputs`: one for each of the model's, read where they lie. `wanted`: indices of outputs; those whose shape follows from
   * the inputs' are written straight into the sink's memory, others are copied there. Returns ONNX Runtime's message, or ''.
   */
  std::string run(const std::vector<Input>& inputs, const std::vector<size_t>& wanted, OutputSink sink) const;

 private:
  std::string makeInput(const ValueInfo& info, const Input& input, Value** value) const;
  std::string takeOutput(Value* value, size_t index, OutputSink sink) const;
  std::string runInto(const std::vector<Input>& inputs, const std::vector<size_t>& wanted, OutputSink sink, bool bind,
                      std::vector<const char*>& names, std::vector<Value*>& values) const;
  bool shapeOf(const ValueInfo& output, const std::vector<Input>& inputs, int64_t* dims, size_t& bytes) const;

  const Runtime& runtime_;
  SessionHandle* const handle_;
  const bool onGpu_;
  std::vector<ValueInfo> inputs_;
  std::vector<ValueInfo> outputs_;
  /** False once an output had another shape than its symbols say. */
  mutable std::atomic<bool> binds_{true};
};

}  // namespace switchyard::ort
