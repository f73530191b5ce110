#include "host.h"

#include <dlfcn.h>

namespace switchyard::net {

Host host;

namespace {

template <typename F>
bool find(const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(RTLD_DEFAULT, name));
  return function != nullptr;
}

}  // namespace

#define SWITCHYARD_FIND(name, result, arguments) \
  if (!find(#name, host.name)) return #name;

const char* loadHttp2() {
  SWITCHYARD_HOST_ENTRIES(SWITCHYARD_FIND)
  return nullptr;
}

const char* loadLoop() {
  SWITCHYARD_LOOP_ENTRIES(SWITCHYARD_FIND)
  return nullptr;
}

#undef SWITCHYARD_FIND

}  // namespace switchyard::net
