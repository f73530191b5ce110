// The binding of shared ONNX Runtime sessions. Every function runs on the thread that calls it, and blocks it.
#include "ort_addon.h"

#include <cmath>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "ort_session.h"
#include "values.h"

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

/**
 * ortOpen(library: string, version: string, intraThreads: number, interThreads: number): string. Opens ONNX Runtime with
 * so many threads for all sessions, callers counted in; returns what is wrong, or ''.
 */
napi_value open(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4];
  std::string path;
  std::string version;
  Threads threads;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (count < 4 || !textOf(env, arguments[0], path) || !textOf(env, arguments[1], version) ||
      napi_get_value_int32(env, arguments[2], &threads.intra) != napi_ok ||
      napi_get_value_int32(env, arguments[3], &threads.inter) != napi_ok || threads.intra < 1 || threads.inter < 1) {
    napi_throw_type_error(env, nullptr, "ortOpen takes two strings and two numbers from 1");
    return nullptr;
  }
  return textValue(env, openRuntime(path.c_str(), version.c_str(), threads));
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

}  // namespace

bool readOptions(napi_env env, napi_value numbers, napi_value entries, napi_value providers, Options& options) {
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, numbers, &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array || length != 8) {
    return false;
  }
  const auto* const words = static_cast<const int32_t*>(data);
  options.intraThreads = words[0];
  options.interThreads = words[1];
  options.graphLevel = words[2];
  options.logSeverity = words[3];
  options.parallel = words[4] != 0;
  options.memPattern = words[5] != 0;
  options.arena = words[6] != 0;
  options.sharedThreads = words[7] != 0;
  std::vector<std::string> texts;
  if (!readTexts(env, entries, texts)) return false;
  for (size_t i = 0; i + 1 < texts.size(); i += 2) options.entries.emplace_back(texts[i], texts[i + 1]);
  uint32_t count = 0;
  if (napi_get_array_length(env, providers, &count) != napi_ok) return false;
  for (uint32_t i = 0; i < count; i++) {
    napi_value list;
    texts.clear();
    if (napi_get_element(env, providers, i, &list) != napi_ok || !readTexts(env, list, texts) || texts.empty()) return false;
    Provider provider;
    provider.kind = texts[0] == "tensorrt" ? Provider::kTensorRt : Provider::kCuda;
    for (size_t k = 1; k + 1 < texts.size(); k += 2) provider.options.emplace_back(texts[k], texts[k + 1]);
    options.providers.push_back(std::move(provider));
  }
  return true;
}

bool readText(napi_env env, napi_value value, std::string& text) { return textOf(env, value, text); }

bool readTexts(napi_env env, napi_value list, std::vector<std::string>& texts) {
  uint32_t count = 0;
  if (napi_get_array_length(env, list, &count) != napi_ok) return false;
  for (uint32_t i = 0; i < count; i++) {
    napi_value item;
    std::string text;
    if (napi_get_element(env, list, i, &item) != napi_ok || !textOf(env, item, text)) return false;
    texts.push_back(std::move(text));
  }
  return true;
}

napi_value describeValues(napi_env env, const std::vector<ValueInfo>& infos) { return describe(env, infos); }

namespace {

/**
 * ortLoad(key: string, path: string, numbers: Int32Array, entries: string[], providers: string[][]): {session, fresh,
 * inputs, outputs}. The last three as readOptions takes them. Throws ONNX Runtime's message.
 */
napi_value load(napi_env env, napi_callback_info info) {
  size_t count = 5;
  napi_value arguments[5];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  std::string key;
  std::string path;
  Options options;
  if (count < 5 || !textOf(env, arguments[0], key) || !textOf(env, arguments[1], path) ||
      !readOptions(env, arguments[2], arguments[3], arguments[4], options)) {
    napi_throw_type_error(env, nullptr, "ortLoad takes two strings, eight numbers and two arrays of strings");
    return nullptr;
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

  static void restart(void* context) { static_cast<Outputs*>(context)->used = 0; }
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
  const std::string problem = (*handle)->run(inputs, wanted, {&outputs, Outputs::allocate, Outputs::restart});
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
    if (!exportFunction(env, exports, name, callback)) return false;
  }
  return true;
}

}  // namespace switchyard::ort
