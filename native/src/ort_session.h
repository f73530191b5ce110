// Sessions of ONNX Runtime that all threads of the process share. No N-API here: tests put a table of their own in place.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ort_api.h"

namespace switchyard::ort {

/** ONNX's TensorProto element type of strings. */
constexpr int kString = 8;
/** Dimensions that a tensor may have, here as in the TypeScript code. */
constexpr size_t kMaxRank = 32;

/** The runtime of this process, once one is open. Nothing of it is ever given back: it ends with the process. */
struct Runtime {
  Api api;
  Env* env = nullptr;
  MemoryInfo* memory = nullptr;
  Allocator* allocator = nullptr;
};

/** The threads that all sessions of the process share, callers not counted in: 1 and 1 are none. They do not spin. */
struct Threads {
  int intra = 1;
  int inter = 1;
};

/**
 * Opens the library (once; later calls must name the same version). Returns what is wrong, or ''. Any thread. The first
 * one that opens ONNX Runtime in a process decides on its shared threads: nobody else may have done so before.
 */
std::string openRuntime(const char* path, const char* version, Threads threads);

/** Makes a runtime of a table of entries. Returns what is wrong, or ''. */
std::string useTable(const void* const* table);

/** The message of a failed call, which is released; '' for success. */
std::string take(const Api& api, Status* status);

/** Bytes of one element, 0 for types that cannot be passed. By ONNX's TensorProto numbers. */
size_t elementBytes(int type);

/** Null until one is open. */
const Runtime* runtime();

/** An execution provider, the preferred one first; the CPU is always last and never named. */
struct Provider {
  enum Kind { kCuda, kTensorRt } kind = kCuda;
  /** ONNX Runtime's own names and values. */
  std::vector<std::pair<std::string, std::string>> options;
};

struct Options {
  /** Run on the process's shared threads; else the session has `intraThreads` and `interThreads` of its own. */
  bool sharedThreads = true;
  int intraThreads = 1;
  int interThreads = 1;
  int graphLevel = 99;
  int logSeverity = 4;
  bool parallel = false;
  bool memPattern = true;
  bool arena = true;
  std::vector<std::pair<std::string, std::string>> entries;
  std::vector<Provider> providers;
};

/** Session options, to be released by the caller also where it fails. `stream`: the providers' CUDA stream, null: own. */
std::string makeOptions(const Api& api, const Options& options, void* stream, SessionOptions** made);

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
  Session(const Runtime& runtime, SessionHandle* handle) : runtime_(runtime), handle_(handle) {}
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
  std::vector<ValueInfo> inputs_;
  std::vector<ValueInfo> outputs_;
  /** False once an output had another shape than its symbols say. */
  mutable std::atomic<bool> binds_{true};
};

/**
 * The session for `key`: the one that another thread has open, or a new one. A second thread that wants a model which a
 * first is loading waits for it. `fresh`: this call has loaded it. Null: `problem` says why.
 */
std::shared_ptr<Session> openSession(const std::string& key, const std::string& path, const Options& options,
                                     std::string& problem, bool& fresh);

/** Keys under which something is kept, for tests: keys without an open session go at the next openSession. */
size_t sessionKeys();

}  // namespace switchyard::ort
