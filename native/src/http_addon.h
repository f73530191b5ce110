#pragma once

#include <node_api.h>

namespace switchyard::http {

/** Adds the functions of the HTTP server to the addon's exports; false where memory is out. */
bool exportServer(napi_env env, napi_value exports);

}  // namespace switchyard::http
