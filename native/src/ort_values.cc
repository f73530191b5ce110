#include "ort_values.h"

#include <cmath>
#include <new>
#include <utility>

#include "values.h"

namespace switchyard::ort {

namespace {

bool set(napi_env env, napi_value object, const char* name, napi_value value) {
  return napi_set_named_property(env, object, name, value) == napi_ok;
}

void releaseHandle(napi_env, void* data, void*) { delete static_cast<Handle*>(data); }

}  // namespace

napi_value fail(napi_env env, const std::string& message) {
  napi_throw_error(env, nullptr, message.c_str());
  return nullptr;
}

bool readText(napi_env env, napi_value value, std::string& text) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return false;
  text.resize(length);
  return napi_get_value_string_utf8(env, value, text.data(), length + 1, &length) == napi_ok;
}

bool readOptions(napi_env env, napi_value numbers, napi_value entries, napi_value extensions, Options& options) {
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
  if (napi_get_array_length(env, extensions, &count) != napi_ok) return false;
  for (uint32_t i = 0; i < count; i++) {
    napi_value list;
    texts.clear();
    if (napi_get_element(env, extensions, i, &list) != napi_ok || !readTexts(env, list, texts) || texts.empty()) return false;
    if (texts[0] == "operators") {
      options.operators.insert(options.operators.end(), texts.begin() + 1, texts.end());
      continue;
    }
    Provider provider;
    provider.kind = texts[0] == "tensorrt" ? Provider::kTensorRt : Provider::kCuda;
    for (size_t k = 1; k + 1 < texts.size(); k += 2) provider.options.emplace_back(texts[k], texts[k + 1]);
    options.providers.push_back(std::move(provider));
  }
  return true;
}

bool readTexts(napi_env env, napi_value list, std::vector<std::string>& texts) {
  uint32_t count = 0;
  if (napi_get_array_length(env, list, &count) != napi_ok) return false;
  for (uint32_t i = 0; i < count; i++) {
    napi_value item;
    std::string text;
    if (napi_get_element(env, list, i, &item) != napi_ok || !readText(env, item, text)) return false;
    texts.push_back(std::move(text));
  }
  return true;
}

bool readLoad(napi_env env, napi_callback_info info, const char* name, Load& load) {
  size_t count = 5;
  napi_value arguments[5];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (count >= 5 && readText(env, arguments[0], load.key) && readText(env, arguments[1], load.path) &&
      readOptions(env, arguments[2], arguments[3], arguments[4], load.options))
    return true;
  const std::string wanted = std::string(name) + " takes two strings, eight numbers and two arrays of strings";
  napi_throw_type_error(env, nullptr, wanted.c_str());
  return false;
}

napi_value loadedValue(napi_env env, const Handle& session, bool fresh) {
  auto* const handle = new (std::nothrow) Handle(session);
  if (handle == nullptr) return nullptr;
  napi_value result;
  napi_value external;
  napi_value isFresh;
  if (napi_create_external(env, handle, releaseHandle, nullptr, &external) != napi_ok) {
    delete handle;
    return nullptr;
  }
  napi_create_object(env, &result);
  napi_get_boolean(env, fresh, &isFresh);
  const napi_value inputs = describeValues(env, session->inputs());
  const napi_value outputs = describeValues(env, session->outputs());
  const bool complete = set(env, result, "session", external) && set(env, result, "fresh", isFresh) &&
                        inputs != nullptr && outputs != nullptr && set(env, result, "inputs", inputs) &&
                        set(env, result, "outputs", outputs);
  return complete ? result : nullptr;
}

napi_value describeValues(napi_env env, const std::vector<ValueInfo>& infos) {
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
    if (!set(env, item, "name", utf8Of(env, info.name)) || !set(env, item, "isTensor", isTensor) ||
        !set(env, item, "type", type) || !set(env, item, "shape", shape)) {
      return nullptr;
    }
    napi_set_element(env, list, i, item);
  }
  return list;
}

Handle* handleOf(napi_env env, napi_value value) {
  napi_valuetype type;
  void* data = nullptr;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_external) return nullptr;
  return napi_get_value_external(env, value, &data) == napi_ok ? static_cast<Handle*>(data) : nullptr;
}

bool readRun(napi_env env, const napi_value* arguments, Call& call) {
  Handle* const handle = handleOf(env, arguments[0]);
  napi_typedarray_type type;
  void* data = nullptr;
  uint32_t inputCount = 0;
  if (handle == nullptr ||
      napi_get_typedarray_info(env, arguments[1], &type, &call.room, &data, nullptr, nullptr) != napi_ok ||
      type != napi_float64_array || napi_get_array_length(env, arguments[2], &inputCount) != napi_ok) {
    napi_throw_type_error(env, nullptr, "a run takes a session, a Float64Array and an array");
    return false;
  }
  const auto refuse = [env](const char* why) { return fail(env, why) != nullptr; };
  if (*handle == nullptr) return refuse("the session is closed");
  call.session = *handle;
  call.plan = static_cast<double*>(data);
  size_t at = 0;
  const auto next = [&](double limit) -> double {
    const double value = at < call.room ? call.plan[at++] : -1;
    return value >= 0 && value <= limit && value == std::floor(value) ? value : -1;
  };
  const double wantedCount = next(65536);
  if (wantedCount < 0) return refuse("the plan is not whole");
  call.wanted.resize(static_cast<size_t>(wantedCount));
  for (size_t& each : call.wanted) {
    const double index = next(65536);
    if (index < 0) return refuse("the plan is not whole");
    each = static_cast<size_t>(index);
  }
  call.inputs.resize(inputCount);
  for (uint32_t i = 0; i < inputCount; i++) {
    napi_value value;
    Input& input = call.inputs[i];
    if (napi_get_element(env, arguments[2], i, &value) != napi_ok ||
        napi_get_typedarray_info(env, value, &type, &input.bytes, &input.data, nullptr, nullptr) != napi_ok ||
        type != napi_uint8_array) {
      napi_throw_type_error(env, nullptr, "inputs are Uint8Arrays");
      return false;
    }
    const double rank = next(kMaxRank);
    if (rank < 0 || call.room - at < static_cast<size_t>(rank)) return refuse("the plan is not whole");
    input.rank = static_cast<size_t>(rank);
    input.dims = call.plan + at;
    at += input.rank;
  }
  return true;
}

}  // namespace switchyard::ort
