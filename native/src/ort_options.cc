#include "ort_options.h"

#include "ort_runtime.h"

namespace switchyard::ort {

namespace {

/** Keys and values of a provider's options as ONNX Runtime takes them. */
struct Texts {
  std::vector<const char*> keys;
  std::vector<const char*> values;
  explicit Texts(const Provider& provider) {
    for (const auto& [key, value] : provider.options) {
      keys.push_back(key.c_str());
      values.push_back(value.c_str());
    }
  }
};

std::string appendCuda(const Api& api, const Provider& provider, void* stream, SessionOptions* options) {
  const Texts texts(provider);
  CudaOptions* cuda = nullptr;
  std::string problem = take(api, api.CreateCudaOptions(&cuda));
  if (!problem.empty()) return problem;
  if (!texts.keys.empty()) {
    problem = take(api, api.UpdateCudaOptions(cuda, texts.keys.data(), texts.values.data(), texts.keys.size()));
  }
  if (problem.empty() && stream != nullptr) problem = take(api, api.UpdateCudaOption(cuda, "user_compute_stream", stream));
  if (problem.empty()) problem = take(api, api.AppendCuda(options, cuda));
  api.ReleaseCudaOptions(cuda);
  return problem;
}

std::string appendTensorRt(const Api& api, const Provider& provider, void* stream, SessionOptions* options) {
  const Texts texts(provider);
  TensorRtOptions* rt = nullptr;
  std::string problem = take(api, api.CreateTensorRtOptions(&rt));
  if (!problem.empty()) return problem;
  if (!texts.keys.empty()) {
    problem = take(api, api.UpdateTensorRtOptions(rt, texts.keys.data(), texts.values.data(), texts.keys.size()));
  }
  if (problem.empty() && stream != nullptr) problem = take(api, api.UpdateTensorRtOption(rt, "user_compute_stream", stream));
  if (problem.empty()) problem = take(api, api.AppendTensorRt(options, rt));
  api.ReleaseTensorRtOptions(rt);
  return problem;
}

}  // namespace

std::string makeOptions(const Api& api, const Options& options, void* stream, SessionOptions** made) {
  std::string problem = take(api, api.CreateSessionOptions(made));
  if (!problem.empty()) return problem;
  SessionOptions* const it = *made;
  const auto apply = [&](Status* status) {
    if (problem.empty()) problem = take(api, status);
    else if (status != nullptr) api.ReleaseStatus(status);
  };
  if (options.sharedThreads) {
    apply(api.DisablePerSessionThreads(it));
  } else {
    apply(api.SetIntraOpNumThreads(it, options.intraThreads));
    apply(api.SetInterOpNumThreads(it, options.interThreads));
  }
  apply(api.SetSessionGraphOptimizationLevel(it, options.graphLevel));
  apply(api.SetSessionLogSeverityLevel(it, options.logSeverity));
  apply(api.SetSessionExecutionMode(it, options.parallel ? 1 : 0));
  if (!options.memPattern) apply(api.DisableMemPattern(it));
  if (!options.arena) apply(api.DisableCpuMemArena(it));
  for (const auto& [key, value] : options.entries) apply(api.AddSessionConfigEntry(it, key.c_str(), value.c_str()));
  for (const std::string& library : options.operators) {
    // Never closed: a session that runs elsewhere may be in it until the process ends.
    void* handle = nullptr;
    apply(api.RegisterCustomOpsLibrary(it, library.c_str(), &handle));
  }
  for (const Provider& provider : options.providers) {
    if (!problem.empty()) break;
    problem = provider.kind == Provider::kCuda ? appendCuda(api, provider, stream, it)
                                               : appendTensorRt(api, provider, stream, it);
  }
  return problem;
}

}  // namespace switchyard::ort
