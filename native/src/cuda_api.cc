#include "cuda_api.h"

#include <dlfcn.h>

namespace switchyard::stage {

std::string openCuda(const char* library, CudaApi& api) {
  void* const opened = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
  if (opened == nullptr) return dlerror();
  std::string missing;
  const auto find = [&](auto& function, const char* name) {
    void* const found = dlsym(opened, name);
    if (found == nullptr && missing.empty()) missing = name;
    function = reinterpret_cast<std::decay_t<decltype(function)>>(found);
  };
  find(api.setDevice, "cudaSetDevice");
  find(api.getLastError, "cudaGetLastError");
  find(api.errorString, "cudaGetErrorString");
  find(api.streamCreate, "cudaStreamCreateWithFlags");
  find(api.streamDestroy, "cudaStreamDestroy");
  find(api.streamSynchronize, "cudaStreamSynchronize");
  find(api.streamWaitEvent, "cudaStreamWaitEvent");
  find(api.eventCreate, "cudaEventCreateWithFlags");
  find(api.eventDestroy, "cudaEventDestroy");
  find(api.eventRecord, "cudaEventRecord");
  find(api.eventSynchronize, "cudaEventSynchronize");
  find(api.hostAlloc, "cudaHostAlloc");
  find(api.hostFree, "cudaFreeHost");
  find(api.copyAsync, "cudaMemcpyAsync");
  return missing.empty() ? "" : std::string(library) + " has no function " + missing;
}

bool losesDevice(CudaStatus status) {
  switch (status) {
    case 46:   // devices unavailable
    case 100:  // no device
    case 214:  // uncorrectable memory error
    case 220:  // uncorrectable link error
    case 226:  // its error was contained, and its context with it
    case 700:  // illegal address
    case 702:  // a kernel ran too long
    case 709:  // the context is destroyed
    case 710:  // a kernel's assertion failed
    case 714:  // hardware stack
    case 715:  // illegal instruction
    case 716:  // misaligned address
    case 717:  // invalid address space
    case 718:  // invalid program counter
    case 719:  // a kernel failed
    case 999:  // unknown
      return true;
    default:
      return false;
  }
}

}  // namespace switchyard::stage
