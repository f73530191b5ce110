// Loading and first runs of ONNX Runtime sessions on threads of their own, while the caller's thread serves.
#pragma once

#include <node_api.h>

namespace switchyard::ort {

/** Adds ortLoadAside and ortRehearse to the addon's exports; false where memory is out. */
bool exportAside(napi_env env, napi_value exports);

}  // namespace switchyard::ort
