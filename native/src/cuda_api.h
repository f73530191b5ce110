// The entries of CUDA's runtime library that are used here, found by name when a model is first put on a GPU: neither
// CUDA's headers nor its libraries are needed to build.
#pragma once

#include <cstddef>
#include <string>

namespace switchyard::stage {

/** 0 is success. */
using CudaStatus = int;
using CudaStream = void*;
using CudaEvent = void*;

constexpr unsigned kStreamNonBlocking = 1;
/** Waiting threads sleep, and no times are taken. */
constexpr unsigned kEventFlags = 1 | 2;
/** Pinned memory that is pinned for every GPU, whichever one is current. */
constexpr unsigned kHostPortable = 1;
constexpr int kHostToDevice = 1;
constexpr int kDeviceToHost = 2;

struct CudaApi {
  CudaStatus (*setDevice)(int) = nullptr;
  CudaStatus (*getLastError)() = nullptr;
  const char* (*errorString)(CudaStatus) = nullptr;
  CudaStatus (*streamCreate)(CudaStream*, unsigned flags) = nullptr;
  CudaStatus (*streamDestroy)(CudaStream) = nullptr;
  CudaStatus (*streamSynchronize)(CudaStream) = nullptr;
  CudaStatus (*streamWaitEvent)(CudaStream, CudaEvent, unsigned flags) = nullptr;
  CudaStatus (*eventCreate)(CudaEvent*, unsigned flags) = nullptr;
  CudaStatus (*eventDestroy)(CudaEvent) = nullptr;
  CudaStatus (*eventRecord)(CudaEvent, CudaStream) = nullptr;
  CudaStatus (*eventSynchronize)(CudaEvent) = nullptr;
  CudaStatus (*hostAlloc)(void**, size_t bytes, unsigned flags) = nullptr;
  CudaStatus (*hostFree)(void*) = nullptr;
  CudaStatus (*copyAsync)(void* to, const void* from, size_t bytes, int kind, CudaStream) = nullptr;
};

/** Loads the library of this name or path. Returns what is wrong, or ''. Never unloaded. */
std::string openCuda(const char* library, CudaApi& api);

/** Whether the device, after such an error, answers nothing any more in this process. */
bool losesDevice(CudaStatus status);

}  // namespace switchyard::stage
