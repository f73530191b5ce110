// Numbers and texts of JavaScript's values, and back; functions that it calls and is called by.
#pragma once

#include <node_api.h>

#include <initializer_list>
#include <string>

namespace switchyard {

inline napi_value numberOf(napi_env env, double value) {
  napi_value out = nullptr;
  napi_create_double(env, value, &out);
  return out;
}

inline napi_value textOf(napi_env env, const std::string& text) {
  napi_value out = nullptr;
  napi_create_string_latin1(env, text.data(), text.size(), &out);
  return out;
}

inline napi_value utf8Of(napi_env env, const std::string& text) {
  napi_value out = nullptr;
  napi_create_string_utf8(env, text.data(), text.size(), &out);
  return out;
}

inline double numberIn(napi_env env, napi_value object, const char* name, double fallback) {
  napi_value value;
  double number = fallback;
  if (napi_get_named_property(env, object, name, &value) == napi_ok) napi_get_value_double(env, value, &number);
  return number;
}

inline std::string textIn(napi_env env, napi_value object, const char* name) {
  napi_value value;
  size_t length = 0;
  std::string out;
  if (napi_get_named_property(env, object, name, &value) != napi_ok) return out;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return out;
  out.resize(length + 1);
  napi_get_value_string_utf8(env, value, &out[0], length + 1, &length);
  out.resize(length);
  return out;
}

inline bool exportFunction(napi_env env, napi_value exports, const char* name, napi_callback callback) {
  napi_value function;
  return napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function) == napi_ok &&
         napi_set_named_property(env, exports, name, function) == napi_ok;
}

struct Exported {
  const char* name;
  napi_callback callback;
};

/** False when one of them cannot be, with an exception pending. */
inline bool exportFunctions(napi_env env, napi_value exports, std::initializer_list<Exported> functions) {
  for (const auto& [name, callback] : functions) {
    if (!exportFunction(env, exports, name, callback)) return false;
  }
  return true;
}

/** Calls JavaScript at the end of a turn of the loop. What it throws is uncaught. */
inline void callBack(napi_env env, napi_ref callback, size_t count, const napi_value* arguments) {
  napi_value function;
  napi_value global;
  napi_value result;
  napi_get_reference_value(env, callback, &function);
  napi_get_global(env, &global);
  if (napi_make_callback(env, nullptr, global, function, count, arguments, &result) == napi_pending_exception) {
    napi_value error;
    if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
  }
}

}  // namespace switchyard
