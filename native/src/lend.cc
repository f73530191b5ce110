#include "lend.h"

#include <cstdint>
#include <iterator>
#include <mutex>
#include <unordered_map>

#include "values.h"

namespace switchyard {
namespace {

/** What a thread has lent: `body` keeps the memory alive, and is that thread's. */
struct Lent {
  napi_env owner;
  napi_ref body;
  void* bytes;
  size_t length;
};

/** By number, of all threads. */
std::mutex mutex;
std::unordered_map<uint32_t, Lent> all;
uint32_t last = 0;

bool numberGiven(napi_env env, napi_callback_info info, napi_value& argument, uint32_t& number) {
  size_t count = 1;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  return count == 1 && napi_get_value_uint32(env, argument, &number) == napi_ok;
}

/**
 * lend(body: Uint8Array): number. Another thread may `borrow` these bytes under this number until `takeBack`. 0: they cannot
 * be lent.
 */
napi_value lend(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value body;
  napi_typedarray_type type;
  Lent lent{env, nullptr, nullptr, 0};
  napi_get_cb_info(env, info, &count, &body, nullptr, nullptr);
  if (count < 1 || napi_get_typedarray_info(env, body, &type, &lent.length, &lent.bytes, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array) {
    napi_throw_type_error(env, nullptr, "lend takes a Uint8Array");
    return nullptr;
  }
  if (lent.length == 0 || napi_create_reference(env, body, 1, &lent.body) != napi_ok) return numberOf(env, 0);
  const std::lock_guard<std::mutex> lock(mutex);
  while (++last == 0 || all.count(last) != 0) {}
  all.emplace(last, lent);
  return numberOf(env, last);
}

/** takeBack(number): by the thread that has lent, when no other one has the bytes any more. */
napi_value takeBack(napi_env env, napi_callback_info info) {
  napi_value argument;
  uint32_t number = 0;
  if (!numberGiven(env, info, argument, number)) return nullptr;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = all.find(number);
  if (found == all.end() || found->second.owner != env) return nullptr;
  napi_delete_reference(env, found->second.body);
  all.erase(found);
  return nullptr;
}

/** borrow(number): ArrayBuffer | undefined. The lent bytes, only to be read, and only until `giveBack`. */
napi_value borrow(napi_env env, napi_callback_info info) {
  napi_value argument;
  uint32_t number = 0;
  if (!numberGiven(env, info, argument, number)) return nullptr;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = all.find(number);
  napi_value buffer = nullptr;
  if (found == all.end() ||
      napi_create_external_arraybuffer(env, found->second.bytes, found->second.length, nullptr, nullptr, &buffer) != napi_ok)
    return nullptr;
  return buffer;
}

/** giveBack(buffer): what `borrow` gave has no bytes from then on. */
napi_value giveBack(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value buffer;
  napi_get_cb_info(env, info, &count, &buffer, nullptr, nullptr);
  if (count == 1) napi_detach_arraybuffer(env, buffer);
  return nullptr;
}

/** A thread ends: the threads that it has started have ended before. */
void forget(void* env) {
  const std::lock_guard<std::mutex> lock(mutex);
  for (auto it = all.begin(); it != all.end();) it = it->second.owner == env ? all.erase(it) : std::next(it);
}

}  // namespace

bool exportLend(napi_env env, napi_value exports) {
  napi_add_env_cleanup_hook(env, forget, env);
  return exportFunctions(env, exports, {{"lend", lend}, {"takeBack", takeBack}, {"borrow", borrow}, {"giveBack", giveBack}});
}

}  // namespace switchyard
