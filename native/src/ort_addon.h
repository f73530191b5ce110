#pragma once

#include <node_api.h>

namespace switchyard::ort {

/** Adds the functions of shared ONNX Runtime sessions to the addon's exports; false where memory is out. */
bool exportSessions(napi_env env, napi_value exports);

}  // namespace switchyard::ort
