// Numbers and texts of JavaScript's values, and back.
#pragma once

#include <node_api.h>

#include <string>

#include "tls.h"

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

/** Options of `secure` functions: see src/tensor/native.ts. */
inline net::TlsOptions tlsOptionsOf(napi_env env, napi_value from) {
  net::TlsOptions options;
  options.certificate = textIn(env, from, "cert");
  options.key = textIn(env, from, "key");
  options.authorities = textIn(env, from, "ca");
  options.clients = static_cast<net::ClientCertificates>(numberIn(env, from, "clients", 0));
  options.ciphers = textIn(env, from, "ciphers");
  options.suites = textIn(env, from, "suites");
  options.minVersion = static_cast<int>(numberIn(env, from, "minVersion", options.minVersion));
  options.maxVersion = static_cast<int>(numberIn(env, from, "maxVersion", options.maxVersion));
  options.sessionContext = textIn(env, from, "sessionContext");
  return options;
}

}  // namespace switchyard
