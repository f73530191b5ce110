#pragma once

#include <node_api.h>

namespace switchyard::stage {

/** Adds the functions of models staged on GPUs to the addon's exports; false where memory is out. */
bool exportStager(napi_env env, napi_value exports);

}  // namespace switchyard::stage
