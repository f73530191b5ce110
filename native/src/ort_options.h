// What a session is made with: threads, optimisation, execution providers.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ort_api.h"

namespace switchyard::ort {

/** An execution provider, the preferred one first; the CPU is always last and never named. */
struct Provider {
  enum Kind { kCuda, kTensorRt } kind = kCuda;
  /** ONNX Runtime's own names and values. */
  std::vector<std::pair<std::string, std::string>> options;
};

struct Options {
  /** Run on the process's shared threads; else the session has `intraThreads` and `interThreads` of its own. */
  bool sharedThreads = true;
  int intraThreads = 1;
  int interThreads = 1;
  int graphLevel = 99;
  int logSeverity = 4;
  bool parallel = false;
  bool memPattern = true;
  bool arena = true;
  std::vector<std::pair<std::string, std::string>> entries;
  std::vector<Provider> providers;
  /** Absolute paths of libraries of custom operators. */
  std::vector<std::string> operators;
};

/** Session options, to be released by the caller also where it fails. `stream`: the providers' CUDA stream, null: own. */
std::string makeOptions(const Api& api, const Options& options, void* stream, SessionOptions** made);

}  // namespace switchyard::ort
