// Memory of one thread of JavaScript, read by another one without a copy.
#pragma once

#include <node_api.h>

namespace switchyard {

/** Adds lend, borrow, giveBack and takeBack to the addon's exports; false where memory is out. */
bool exportLend(napi_env env, napi_value exports);

}  // namespace switchyard
