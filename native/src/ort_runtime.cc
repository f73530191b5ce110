#include "ort_runtime.h"

#include <dlfcn.h>

#include <cstring>
#include <mutex>

namespace switchyard::ort {

namespace {

struct Process {
  std::mutex lock;
  std::string version;
  Runtime runtime;
  bool open = false;
};

/** Never destroyed: worker threads may outlive the statics of this library. */
Process& process() {
  static Process* const it = new Process();
  return *it;
}

std::string fillRuntime(const void* const* table, Threads threads, Runtime& runtime) {
  runtime.api.table = table;
  const Api& api = runtime.api;
  ThreadingOptions* shared = nullptr;
  std::string problem = take(api, api.CreateThreadingOptions(&shared));
  if (problem.empty()) problem = take(api, api.SetGlobalIntraOpNumThreads(shared, threads.intra));
  if (problem.empty()) problem = take(api, api.SetGlobalInterOpNumThreads(shared, threads.inter));
  if (problem.empty()) problem = take(api, api.SetGlobalSpinControl(shared, 0));
  // Warnings and worse; each session has its own level. onnxruntime-node shares the environment that it finds.
  if (problem.empty()) problem = take(api, api.CreateEnvWithGlobalThreadPools(2, "switchyard", shared, &runtime.env));
  if (shared != nullptr) api.ReleaseThreadingOptions(shared);
  // Arena, default memory: both are what CreateTensorWithDataAsOrtValue expects of memory that it does not own.
  if (problem.empty()) problem = take(api, api.CreateCpuMemoryInfo(1, 0, &runtime.memory));
  if (problem.empty()) problem = take(api, api.GetAllocatorWithDefaultOptions(&runtime.allocator));
  return problem;
}

}  // namespace

std::string take(const Api& api, Status* status) {
  if (status == nullptr) return {};
  std::string message = api.GetErrorMessage(static_cast<const Status*>(status));
  api.ReleaseStatus(status);
  return message.empty() ? "ONNX Runtime failed without a message" : message;
}

std::string useTable(const void* const* table) {
  Process& all = process();
  const std::lock_guard<std::mutex> guard(all.lock);
  if (all.open) return {};
  const std::string problem = fillRuntime(table, {}, all.runtime);
  all.open = problem.empty();
  return problem;
}

std::string openRuntime(const char* path, const char* version, Threads threads) {
  {
    Process& all = process();
    const std::lock_guard<std::mutex> guard(all.lock);
    if (all.open) {
      return all.version == version ? "" : "ONNX Runtime " + all.version + " is open in this process already";
    }
    // Local: only its one function is asked for. onnxruntime-node finds the same library by its name, loaded once.
    void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return dlerror();
    const auto base = reinterpret_cast<const ApiBase* (*)()>(dlsym(library, "OrtGetApiBase"));
    if (base == nullptr) return "it has no function OrtGetApiBase";
    const ApiBase& found = *base();
    if (std::strcmp(found.GetVersionString(), version) != 0) {
      return std::string("it is version ") + found.GetVersionString() + ", wanted is " + version;
    }
    const void* const* const table = found.GetApi(kApiVersion);
    if (table == nullptr) return "it does not have the API of ONNX Runtime 1.16";
    const std::string problem = fillRuntime(table, threads, all.runtime);
    all.open = problem.empty();
    all.version = version;
    return problem;
  }
}

const Runtime* runtime() {
  Process& all = process();
  const std::lock_guard<std::mutex> guard(all.lock);
  return all.open ? &all.runtime : nullptr;
}

}  // namespace switchyard::ort
