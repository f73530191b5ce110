// ONNX Runtime's library, opened once in a process, with what all sessions have in common. No N-API here: tests put a table
// of their own in place.
#pragma once

#include <string>

#include "ort_api.h"

namespace switchyard::ort {

/** The runtime of this process, once one is open. Nothing of it is ever given back: it ends with the process. */
struct Runtime {
  Api api;
  Env* env = nullptr;
  MemoryInfo* memory = nullptr;
  Allocator* allocator = nullptr;
};

/** The threads that all sessions of the process share, callers not counted in: 1 and 1 are none. They do not spin. */
struct Threads {
  int intra = 1;
  int inter = 1;
};

/**
 * Opens the library (once; later calls must name the same version). Returns what is wrong, or ''. Any thread. The first
 * one that opens ONNX Runtime in a process decides on its shared threads: nobody else may have done so before.
 */
std::string openRuntime(const char* path, const char* version, Threads threads);

/** Makes a runtime of a table of entries. Returns what is wrong, or ''. */
std::string useTable(const void* const* table);

/** The message of a failed call, which is released; '' for success. */
std::string take(const Api& api, Status* status);

/** Null until one is open. */
const Runtime* runtime();

}  // namespace switchyard::ort
