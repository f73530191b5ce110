// The binding of shared ONNX Runtime sessions. Every function here runs on the thread that calls it, and blocks it.
#include "ort_addon.h"

#include <string>

#include "ort_sessions.h"
#include "ort_values.h"
#include "values.h"

namespace switchyard::ort {

namespace {

/**
 * ortOpen(library: string, version: string, intraThreads: number, interThreads: number): string. Opens ONNX Runtime with
 * so many threads for all sessions, callers counted in; returns what is wrong, or ''.
 */
napi_value open(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4];
  std::string path;
  std::string version;
  Threads threads;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (count < 4 || !readText(env, arguments[0], path) || !readText(env, arguments[1], version) ||
      napi_get_value_int32(env, arguments[2], &threads.intra) != napi_ok ||
      napi_get_value_int32(env, arguments[3], &threads.inter) != napi_ok || threads.intra < 1 || threads.inter < 1) {
    napi_throw_type_error(env, nullptr, "ortOpen takes two strings and two numbers from 1");
    return nullptr;
  }
  return utf8Of(env, openRuntime(path.c_str(), version.c_str(), threads));
}

/**
 * ortLoad(key: string, path: string, numbers: Int32Array, entries: string[], extensions: string[][]): {session, fresh,
 * inputs, outputs}. The last three as readOptions takes them. Throws ONNX Runtime's message.
 */
napi_value load(napi_env env, napi_callback_info info) {
  Load wanted;
  if (!readLoad(env, info, "ortLoad", wanted)) return nullptr;
  std::string problem;
  bool fresh = false;
  const Handle session = openSession(wanted.key, wanted.path, wanted.options, problem, fresh);
  if (session == nullptr) return fail(env, problem);
  const napi_value loaded = loadedValue(env, session, fresh);
  return loaded == nullptr ? fail(env, "there is no memory for a session") : loaded;
}

/** Outputs of one run, on their way to JavaScript. */
struct Outputs {
  napi_env env;
  napi_value list;
  double* plan;
  size_t room;
  size_t used = 0;

  static uint8_t* allocate(void* context, size_t index, const int64_t* dims, size_t rank, size_t bytes) {
    auto& self = *static_cast<Outputs*>(context);
    if (self.room - self.used < rank + 1) return nullptr;
    void* data = nullptr;
    napi_value buffer;
    if (napi_create_arraybuffer(self.env, bytes, &data, &buffer) != napi_ok) return nullptr;
    if (napi_set_element(self.env, self.list, static_cast<uint32_t>(index), buffer) != napi_ok) return nullptr;
    self.plan[self.used++] = static_cast<double>(rank);
    for (size_t i = 0; i < rank; i++) self.plan[self.used++] = static_cast<double>(dims[i]);
    // Nothing is written to it, but copying nothing takes an address too.
    static uint8_t nothing;
    return bytes == 0 ? &nothing : static_cast<uint8_t*>(data);
  }

  static void restart(void* context) { static_cast<Outputs*>(context)->used = 0; }
};

/**
 * ortRun(session, plan: Float64Array, inputs: Uint8Array[]): ArrayBuffer[]. The plan says on the way in: how many outputs
 * are wanted, the index of each, then for each input its rank and its dims; on the way out: for each wanted output its
 * rank and its dims. Each result is an ArrayBuffer of its own, which V8 owns. Throws ONNX Runtime's message.
 */
napi_value run(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  Call call;
  if (count < 3 || !readRun(env, arguments, call)) return nullptr;
  Outputs outputs{env, nullptr, call.plan, call.room};
  if (napi_create_array_with_length(env, call.wanted.size(), &outputs.list) != napi_ok) return nullptr;
  const std::string problem = call.session->run(call.inputs, call.wanted, {&outputs, Outputs::allocate, Outputs::restart});
  return problem.empty() ? outputs.list : fail(env, problem);
}

/** ortClose(session): gives the thread's share of it back; the last one frees the weights. */
napi_value close(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  Handle* const handle = count < 1 ? nullptr : handleOf(env, argument);
  if (handle == nullptr) {
    napi_throw_type_error(env, nullptr, "ortClose takes a session");
    return nullptr;
  }
  handle->reset();
  return nullptr;
}

}  // namespace

bool exportSessions(napi_env env, napi_value exports) {
  return exportFunctions(env, exports,
                         {{"ortOpen", open}, {"ortLoad", load}, {"ortRun", run}, {"ortClose", close}});
}

}  // namespace switchyard::ort
