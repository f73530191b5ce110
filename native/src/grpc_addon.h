#pragma once

#include <node_api.h>

namespace switchyard::grpc {

/** Adds the functions of the gRPC server to the addon's exports; false where memory is out. */
bool exportServer(napi_env env, napi_value exports);

}  // namespace switchyard::grpc
