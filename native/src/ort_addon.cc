// The binding of shared ONNX Runtime sessions. Every function runs on the thread that calls it, and blocks it.
#include "ort_addon.h"

#include <cmath>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "ort_session.h"

namespace switchyard::ort {

namespace {

using Handle = std::shared_ptr<Session>;

napi_value fail(napi_env env, const std::string& message) {
  napi_throw_error(env, nullptr, message.c_str());
  return nullptr;
}

bool textOf(napi_env env, napi_value value, std::string& text) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return false;
  text.resize(length);
  return napi_get_value_string_utf8(env, value, text.data(), length + 1, &length) == napi_ok;
}

napi_value textValue(napi_env env, const std::string& text) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, text.data(), text.size(), &value);
  return value;
}

/** ortOpen(library: string, version: string): string. Opens ONNX Runtime; returns what is wrong, or ''. */
napi_value open(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  std::string path;
  std::string version;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (count < 2 || !textOf(env, arguments[0], path) || !textOf(env, arguments[1], version)) {
    napi_throw_type_error(env, nullptr, "ortOpen takes two strings");
    return nullptr;
  }
  return textValue(env, openRuntime(path.c_str(), version.c_str()));
}

bool set(napi_env env, napi_value object, const char* name, napi_value value) {
  return napi_set_named_property(env, object, name, value) == napi_ok;
}

napi_value describe(napi_env env, const std::vector<ValueInfo>& infos) {
  napi_value list;
  if (napi_create_array_with_length(env, infos.size(), &list) != napi_ok) return nullptr;
  for (uint32_t i = 0; i < infos.size(); i++) {
    const ValueInfo& info = infos[i];
    napi_value item;
    napi_value isTensor;
    napi_value type;
    napi_value shape;
    napi_create_object(env, &item);
    napi_get_boolean(env, info.isTensor, &isTensor);
    napi_create_int32(env, info.type, &type);
    napi_create_array_with_length(env, info.dims.size(), &shape);
    for (uint32_t d = 0; d < info.dims.size(); d++) {
      napi_value dim;
      napi_create_int64(env, info.dims[d], &dim);
      napi_set_element(env, shape, d, dim);
    }
    if (!set(env, item, "name", textValue(env, info.name)) || !set(env, item, "isTensor", isTensor) ||
        !set(env, item, "type", type) || !set(env, item, "shape", shape)) {
      return nullptr;
    }
    napi_set_element(env, list, i, item);
  }
  return list;
}

void releaseHandle(napi_env, void* data, void*) { delete static_cast<Handle*>(data); }

/**
 * ortLoad(key: string, path: string, numbers: Int32Array, entries: string[]): {session, fresh, inputs, outputs}. numbers:
 * intra threads, inter threads, graph level, log severity, parallel, memory pattern, arena; entries: keys and values of
 * the session's configuration by turns. Throws ONNX Runtime's message.
 */
napi_value load(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  std::string key;
  std::string path;
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  uint32_t entries = 0;
  if (count < 4 || !textOf(env, arguments[0], key) || !textOf(env, arguments[1], path) ||
      napi_get_typedarray_info(env, arguments[2], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array || length != 7 || napi_get_array_length(env, arguments[3], &entries) != napi_ok) {
    napi_throw_type_error(env, nullptr, "ortLoad takes two strings, seven numbers and an array");
    return nullptr;
  }
  const auto* const numbers = static_cast<const int32_t*>(data);
  Options options;
  options.intraThreads = numbers[0];
  options.interThreads = numbers[1];
  options.graphLevel = numbers[2];
  options.logSeverity = numbers[3];
  options.parallel = numbers[4] != 0;
  options.memPattern = numbers[5] != 0;
  options.arena = numbers[6] != 0;
  for (uint32_t i = 0; i + 1 < entries; i += 2) {
    std::string name;
    std::string text;
    napi_value first;
    napi_value second;
    if (napi_get_element(env, arguments[3], i, &first) != napi_ok ||
        napi_get_element(env, arguments[3], i + 1, &second) != napi_ok || !textOf(env, first, name) ||
        !textOf(env, second, text)) {
      napi_throw_type_error(env, nullptr, "entries are strings");
      return nullptr;
    }
    options.entries.emplace_back(std::move(name), std::move(text));
  }
  std::string problem;
  bool fresh = false;
  Handle session = openSession(key, path, options, problem, fresh);
  if (session == nullptr) return fail(env, problem);
  auto* const handle = new (std::nothrow) Handle(session);
  if (handle == nullptr) return fail(env, "there is no memory for a session");
  napi_value result;
  napi_value external;
  napi_value isFresh;
  if (napi_create_external(env, handle, releaseHandle, nullptr, &external) != napi_ok) {
    delete handle;
    return nullptr;
  }
  napi_create_object(env, &result);
  napi_get_boolean(env, fresh, &isFresh);
  const napi_value inputs = describe(env, session->inputs());
  const napi_value outputs = describe(env, session->outputs());
  const bool complete = set(env, result, "session", external) && set(env, result, "fresh", isFresh) &&
                        inputs != nullptr && outputs != nullptr && set(env, result, "inputs", inputs) &&
                        set(env, result, "outputs", outputs);
  return complete ? result : nullptr;
}

Handle* handleOf(napi_env env, napi_value value) {
  napi_valuetype type;
  void* data = nullptr;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_external) return nullptr;
  return napi_get_value_external(env, value, &data) == napi_ok ? static_cast<Handle*>(data) : nullptr;
}

/** Outputs of one run, on their way to JavaScript. */
struct Outputs {
  napi_env env;
  napi_value list;
  double* plan;
  size_t room;
  size_t used = 0;

  static uint8_t* allocate(void* context, size_t index, const int64_t* dims, size_t rank, size_t bytes) {
    auto& self = *static_cast<Outputs*>(context);
    if (self.room - self.used < rank + 1) return nullptr;
    void* data = nullptr;
    napi_value buffer;
    if (napi_create_arraybuffer(self.env, bytes, &data, &buffer) != napi_ok) return nullptr;
    if (napi_set_element(self.env, self.list, static_cast<uint32_t>(index), buffer) != napi_ok) return nullptr;
    self.plan[self.used++] = static_cast<double>(rank);
    for (size_t i = 0; i < rank; i++) self.plan[self.used++] = static_cast<double>(dims[i]);
    // Nothing is written to it, but copying nothing takes an address too.
    static uint8_t nothing;
    return bytes == 0 ? &nothing : static_cast<uint8_t*>(data);
  }
};

/**
 * ortRun(session, plan: Float64Array, inputs: Uint8Array[]): ArrayBuffer[]. The plan says on the way in: how many outputs
 * are wanted, the index of each, then for each input its rank and its dims; on the way out: for each wanted output its
 * rank and its dims. Each result is an ArrayBuffer of its own, which V8 owns. Throws ONNX Runtime's message.
 */
napi_value run(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  Handle* const handle = count < 3 ? nullptr : handleOf(env, arguments[0]);
  napi_typedarray_type type;
  size_t room = 0;
  void* data = nullptr;
  uint32_t inputCount = 0;
  if (handle == nullptr || napi_get_typedarray_info(env, arguments[1], &type, &room, &data, nullptr, nullptr) != napi_ok ||
      type != napi_float64_array || napi_get_array_length(env, arguments[2], &inputCount) != napi_ok) {
    napi_throw_type_error(env, nullptr, "ortRun takes a session, a Float64Array and an array");
    return nullptr;
  }
  if (*handle == nullptr) return fail(env, "the session is closed");
  auto* const plan = static_cast<double*>(data);
  size_t at = 0;
  const auto next = [&](double limit) -> double {
    const double value = at < room ? plan[at++] : -1;
    return value >= 0 && value <= limit && value == std::floor(value) ? value : -1;
  };
  const double wantedCount = next(65536);
  if (wantedCount < 0) return fail(env, "the plan is not whole");
  std::vector<size_t> wanted(static_cast<size_t>(wantedCount));
  for (size_t& each : wanted) {
    const double index = next(65536);
    if (index < 0) return fail(env, "the plan is not whole");
    each = static_cast<size_t>(index);
  }
  std::vector<Input> inputs(inputCount);
  for (uint32_t i = 0; i < inputCount; i++) {
    napi_value value;
    Input& input = inputs[i];
    if (napi_get_element(env, arguments[2], i, &value) != napi_ok ||
        napi_get_typedarray_info(env, value, &type, &input.bytes, &input.data, nullptr, nullptr) != napi_ok ||
        type != napi_uint8_array) {
      napi_throw_type_error(env, nullptr, "inputs are Uint8Arrays");
      return nullptr;
    }
    const double rank = next(kMaxRank);
    if (rank < 0 || room - at < static_cast<size_t>(rank)) return fail(env, "the plan is not whole");
    input.rank = static_cast<size_t>(rank);
    input.dims = plan + at;
    at += input.rank;
  }
  Outputs outputs{env, nullptr, plan, room};
  if (napi_create_array_with_length(env, wanted.size(), &outputs.list) != napi_ok) return nullptr;
  const std::string problem = (*handle)->run(inputs, wanted, {&outputs, Outputs::allocate});
  return problem.empty() ? outputs.list : fail(env, problem);
}

/** ortClose(session): gives the thread's share of it back; the last one frees the weights. */
napi_value close(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  Handle* const handle = count < 1 ? nullptr : handleOf(env, argument);
  if (handle == nullptr) {
    napi_throw_type_error(env, nullptr, "ortClose takes a session");
    return nullptr;
  }
  handle->reset();
  return nullptr;
}

}  // namespace

bool exportSessions(napi_env env, napi_value exports) {
  const struct {
    const char* name;
    napi_callback callback;
  } functions[] = {{"ortOpen", open}, {"ortLoad", load}, {"ortRun", run}, {"ortClose", close}};
  for (const auto& [name, callback] : functions) {
    napi_value function;
    if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function) != napi_ok) return false;
    if (napi_set_named_property(env, exports, name, function) != napi_ok) return false;
  }
  return true;
}

}  // namespace switchyard::ort
