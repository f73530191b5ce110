#include "openssl.h"

#include <dlfcn.h>

namespace switchyard::net {

OpenSsl openssl;

const char* loadOpenSsl() {
#define SWITCHYARD_FIND(name, result, arguments)                                      \
  openssl.name = reinterpret_cast<result(*) arguments>(dlsym(RTLD_DEFAULT, #name)); \
  if (openssl.name == nullptr) return #name;
  SWITCHYARD_OPENSSL_ENTRIES(SWITCHYARD_FIND)
#undef SWITCHYARD_FIND
  return nullptr;
}

}  // namespace switchyard::net
