// Decoding of large bodies on a thread of its own, while JavaScript's thread serves.
#pragma once

#include <node_api.h>

namespace switchyard {

/** Adds decodeAside to the addon's exports; false where memory is out. */
bool exportDecodeAside(napi_env env, napi_value exports);

}  // namespace switchyard
