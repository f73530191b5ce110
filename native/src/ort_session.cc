#include "ort_session.h"

#include <cstring>

#include "captures.h"

namespace switchyard::ort {

namespace {

std::string describeOne(const Runtime& runtime, SessionHandle* handle, bool input, size_t index, ValueInfo& info) {
  const Api& api = runtime.api;
  char* name = nullptr;
  std::string problem = take(api, input ? api.SessionGetInputName(handle, index, runtime.allocator, &name)
                                        : api.SessionGetOutputName(handle, index, runtime.allocator, &name));
  if (!problem.empty()) return problem;
  info.name = name;
  problem = take(api, api.AllocatorFree(runtime.allocator, name));
  TypeInfo* type = nullptr;
  if (problem.empty()) {
    problem = take(api, input ? api.SessionGetInputTypeInfo(handle, index, &type)
                              : api.SessionGetOutputTypeInfo(handle, index, &type));
  }
  if (!problem.empty()) return problem;
  const TensorInfo* tensor = nullptr;
  problem = take(api, api.CastTypeInfoToTensorInfo(type, &tensor));
  info.isTensor = problem.empty() && tensor != nullptr;
  if (info.isTensor) {
    size_t rank = 0;
    problem = take(api, api.GetTensorElementType(tensor, &info.type));
    if (problem.empty()) problem = take(api, api.GetDimensionsCount(tensor, &rank));
    info.dims.resize(rank);
    info.symbols.resize(rank);
    std::vector<const char*> symbols(rank);
    if (problem.empty()) problem = take(api, api.GetDimensions(tensor, info.dims.data(), rank));
    if (problem.empty()) problem = take(api, api.GetSymbolicDimensions(tensor, symbols.data(), rank));
    for (size_t i = 0; i < rank && problem.empty(); i++) info.symbols[i] = symbols[i] == nullptr ? "" : symbols[i];
  }
  api.ReleaseTypeInfo(type);
  return problem;
}

/** A dim that JavaScript gives: a whole number. False: it is none. */
bool wholeDim(double dim, int64_t& whole) {
  if (!(dim >= 0) || dim > 9007199254740991.0) return false;
  whole = static_cast<int64_t>(dim);
  return true;
}

/** Strings out of their BYTES form, each behind its length. False: the bytes do not hold `count` of them. */
bool splitStrings(const Input& input, size_t count, std::vector<std::string>& strings) {
  const auto* at = static_cast<const uint8_t*>(input.data);
  size_t left = input.bytes;
  if (count > left / 4) return false;
  strings.reserve(count);
  for (size_t i = 0; i < count; i++) {
    uint32_t length;
    if (left < 4) return false;
    std::memcpy(&length, at, 4);
    at += 4;
    left -= 4;
    if (length > left) return false;
    strings.emplace_back(reinterpret_cast<const char*>(at), length);
    at += length;
    left -= length;
  }
  return left == 0;
}

}  // namespace

size_t elementBytes(int type) {
  static constexpr uint8_t kBytes[] = {0, 4, 1, 1, 2, 2, 4, 8, 0, 1, 2, 8, 4, 8, 0, 0, 2};
  return type < 0 || type > 16 ? 0 : kBytes[type];
}

Session::~Session() {
  const auto beside = besideCaptures(onGpu_);
  runtime_.api.ReleaseSession(handle_);
}

std::string describe(const Runtime& runtime, SessionHandle* handle, bool inputs, std::vector<ValueInfo>& list) {
  const Api& api = runtime.api;
  size_t count = 0;
  const std::string problem =
      take(api, inputs ? api.SessionGetInputCount(handle, &count) : api.SessionGetOutputCount(handle, &count));
  if (!problem.empty()) return problem;
  list.resize(count);
  for (size_t i = 0; i < count; i++) {
    const std::string failed = describeOne(runtime, handle, inputs, i, list[i]);
    if (!failed.empty()) return failed;
  }
  return {};
}

std::string Session::describe() {
  const std::string problem = ort::describe(runtime_, handle_, true, inputs_);
  return problem.empty() ? ort::describe(runtime_, handle_, false, outputs_) : problem;
}

std::string Session::makeInput(const ValueInfo& info, const Input& input, Value** value) const {
  const Api& api = runtime_.api;
  int64_t dims[kMaxRank];
  if (input.rank > kMaxRank) return "input \"" + info.name + "\" has too many dims";
  size_t count = 1;
  for (size_t i = 0; i < input.rank; i++) {
    if (!wholeDim(input.dims[i], dims[i])) return "input \"" + info.name + "\" has a dim that is no whole number";
    if (__builtin_mul_overflow(count, static_cast<size_t>(dims[i]), &count)) return "input \"" + info.name + "\" is too large";
  }
  if (info.type != kString) {
    const size_t size = elementBytes(info.type);
    size_t bytes = 0;
    if (size == 0 || __builtin_mul_overflow(count, size, &bytes) || bytes != input.bytes) {
      return "input \"" + info.name + "\" does not fill its shape";
    }
    // The runtime wants an address even for nothing.
    static uint64_t nothing = 0;
    void* const data = input.bytes == 0 ? &nothing : input.data;
    return take(api, api.CreateTensorWithDataAsOrtValue(runtime_.memory, data, input.bytes, dims, input.rank,
                                                        info.type, value));
  }
  std::vector<std::string> strings;
  if (!splitStrings(input, count, strings)) return "input \"" + info.name + "\" does not hold its strings";
  std::vector<const char*> pointers;
  pointers.reserve(count);
  for (const std::string& each : strings) pointers.push_back(each.c_str());
  std::string problem = take(api, api.CreateTensorAsOrtValue(runtime_.allocator, dims, input.rank, kString, value));
  if (problem.empty() && count > 0) problem = take(api, api.FillStringTensor(*value, pointers.data(), count));
  return problem;
}

std::string Session::takeOutput(Value* value, size_t index, OutputSink sink) const {
  const Api& api = runtime_.api;
  TensorInfo* shape = nullptr;
  std::string problem = take(api, api.GetTensorTypeAndShape(value, &shape));
  if (!problem.empty()) return problem;
  int type = 0;
  size_t rank = 0;
  size_t count = 0;
  int64_t dims[kMaxRank];
  problem = take(api, api.GetTensorElementType(shape, &type));
  if (problem.empty()) problem = take(api, api.GetDimensionsCount(shape, &rank));
  if (problem.empty() && rank > kMaxRank) problem = "an output has more than 32 dims";
  if (problem.empty()) problem = take(api, api.GetDimensions(shape, dims, rank));
  if (problem.empty()) problem = take(api, api.GetTensorShapeElementCount(shape, &count));
  api.ReleaseTensorTypeAndShapeInfo(shape);
  if (!problem.empty()) return problem;
  if (type != kString) {
    void* data = nullptr;
    const size_t bytes = count * elementBytes(type);
    problem = take(api, api.GetTensorMutableData(value, &data));
    if (!problem.empty()) return problem;
    uint8_t* const out = sink.allocate(sink.context, index, dims, rank, bytes);
    if (out == nullptr) return "there is no memory for an output";
    if (bytes > 0) std::memcpy(out, data, bytes);
    return {};
  }
  size_t length = 0;
  problem = take(api, api.GetStringTensorDataLength(value, &length));
  if (!problem.empty()) return problem;
  std::string text(length, '\0');
  std::vector<size_t> offsets(count);
  if (count > 0) {
    problem = take(api, api.GetStringTensorContent(value, text.data(), length, offsets.data(), count));
    if (!problem.empty()) return problem;
  }
  uint8_t* out = sink.allocate(sink.context, index, dims, rank, length + 4 * count);
  if (out == nullptr) return "there is no memory for an output";
  for (size_t i = 0; i < count; i++) {
    const size_t end = i + 1 < count ? offsets[i + 1] : length;
    const auto size = static_cast<uint32_t>(end - offsets[i]);
    std::memcpy(out, &size, 4);
    std::memcpy(out + 4, text.data() + offsets[i], size);
    out += 4 + size;
  }
  return {};
}

/** The shape that an output will have, where each of its dims is fixed or named like one of an input. */
bool Session::shapeOf(const ValueInfo& output, const std::vector<Input>& inputs, int64_t* dims, size_t& bytes) const {
  const size_t size = output.isTensor && output.type != kString ? elementBytes(output.type) : 0;
  if (size == 0 || output.dims.size() > kMaxRank) return false;
  bytes = size;
  for (size_t d = 0; d < output.dims.size(); d++) {
    dims[d] = output.dims[d];
    for (size_t i = 0; i < inputs.size() && dims[d] < 0 && !output.symbols[d].empty(); i++) {
      for (size_t k = 0; k < inputs_[i].symbols.size() && k < inputs[i].rank; k++) {
        if (inputs_[i].symbols[k] == output.symbols[d] && wholeDim(inputs[i].dims[k], dims[d])) break;
      }
    }
    if (dims[d] < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(dims[d]), &bytes)) return false;
  }
  return true;
}

/** Runs once the inputs' values are there. `values` behind them: the outputs', as far as they were made. */
std::string Session::runInto(const std::vector<Input>& inputs, const std::vector<size_t>& wanted, OutputSink sink, bool bind,
                             std::vector<const char*>& names, std::vector<Value*>& values) const {
  const Api& api = runtime_.api;
  Value** const fetched = values.data() + inputs.size();
  // The sink may write over what the inputs' dims are read from: all shapes come first.
  struct Shape {
    bool known = false;
    size_t bytes = 0;
    int64_t dims[kMaxRank];
  };
  std::vector<Shape> shapes(bind ? wanted.size() : 0);
  for (size_t i = 0; i < shapes.size(); i++) {
    shapes[i].known = shapeOf(outputs_[wanted[i]], inputs, shapes[i].dims, shapes[i].bytes);
  }
  std::string problem;
  // The sink hears of outputs in their order: those behind one of unknown shape are not bound either.
  size_t bound = 0;
  for (; bound < shapes.size() && shapes[bound].known; bound++) {
    const ValueInfo& info = outputs_[wanted[bound]];
    const Shape& shape = shapes[bound];
    uint8_t* const out = sink.allocate(sink.context, bound, shape.dims, info.dims.size(), shape.bytes);
    if (out == nullptr) return "there is no memory for an output";
    problem = take(api, api.CreateTensorWithDataAsOrtValue(runtime_.memory, out, shape.bytes, shape.dims, info.dims.size(),
                                                           info.type, &fetched[bound]));
    if (!problem.empty()) return problem;
  }
  problem = take(api, api.Run(handle_, nullptr, names.data(), values.data(), inputs.size(), names.data() + inputs.size(),
                              wanted.size(), fetched));
  for (size_t i = bound; i < wanted.size() && problem.empty(); i++) {
    problem = fetched[i] == nullptr ? "an output is missing" : takeOutput(fetched[i], i, sink);
  }
  return problem;
}

std::string Session::run(const std::vector<Input>& inputs, const std::vector<size_t>& wanted, OutputSink sink) const {
  if (inputs.size() != inputs_.size()) return "a run takes one tensor for each input";
  const auto beside = besideCaptures(onGpu_);
  const Api& api = runtime_.api;
  std::vector<Value*> values(inputs.size() + wanted.size());
  std::vector<const char*> names;
  names.reserve(values.size());
  std::string problem;
  for (size_t i = 0; i < inputs.size() && problem.empty(); i++) {
    names.push_back(inputs_[i].name.c_str());
    problem = makeInput(inputs_[i], inputs[i], &values[i]);
  }
  for (size_t i = 0; i < wanted.size() && problem.empty(); i++) {
    if (wanted[i] >= outputs_.size()) problem = "there is no such output";
    else names.push_back(outputs_[wanted[i]].name.c_str());
  }
  if (problem.empty()) {
    problem = runInto(inputs, wanted, sink, binds_, names, values);
    if (problem.find("shape verification failed") != std::string::npos && binds_.exchange(false)) {
      // The model's symbols are wrong about a shape. Nothing was answered: it runs again, and so do all later ones unbound.
      for (size_t i = inputs.size(); i < values.size(); i++) {
        if (values[i] != nullptr) api.ReleaseValue(values[i]);
        values[i] = nullptr;
      }
      sink.restart(sink.context);
      problem = runInto(inputs, wanted, sink, false, names, values);
    }
  }
  for (Value* value : values) {
    if (value != nullptr) api.ReleaseValue(value);
  }
  return problem;
}

}  // namespace switchyard::ort
