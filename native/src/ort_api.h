// The entries of ONNX Runtime's C API that are used here. Its table is append-only: an entry keeps its place for ever.
#pragma once

#include <cstddef>
#include <cstdint>

namespace switchyard::ort {

struct Status;
struct Env;
struct SessionHandle;
struct SessionOptions;
struct Value;
struct MemoryInfo;
struct TypeInfo;
struct TensorInfo;
struct Allocator;
struct ThreadingOptions;
struct RunOptions;
struct IoBinding;
struct CudaOptions;
struct TensorRtOptions;

/** What OrtGetApiBase returns. */
struct ApiBase {
  const void* const* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

/** Every entry used here is there from this version of the API on (ONNX Runtime 1.16). */
constexpr uint32_t kApiVersion = 16;

#define SWITCHYARD_ORT_ENTRY(index, result, name, ...)                                          \
  template <typename... Arguments>                                                              \
  result name(Arguments... arguments) const {                                                   \
    return reinterpret_cast<result (*)(__VA_ARGS__)>(const_cast<void*>(table[index]))(arguments...); \
  }

/** Null as a Status is success; the caller releases any other. */
struct Api {
  const void* const* table = nullptr;

  SWITCHYARD_ORT_ENTRY(2, const char*, GetErrorMessage, const Status*)
  SWITCHYARD_ORT_ENTRY(7, Status*, CreateSession, const Env*, const char* path, const SessionOptions*, SessionHandle**)
  SWITCHYARD_ORT_ENTRY(9, Status*, Run, SessionHandle*, const RunOptions*, const char* const* inputNames,
                       const Value* const* inputs, size_t inputCount, const char* const* outputNames,
                       size_t outputCount, Value** outputs)
  SWITCHYARD_ORT_ENTRY(10, Status*, CreateSessionOptions, SessionOptions**)
  SWITCHYARD_ORT_ENTRY(13, Status*, SetSessionExecutionMode, SessionOptions*, int mode)
  SWITCHYARD_ORT_ENTRY(17, Status*, DisableMemPattern, SessionOptions*)
  SWITCHYARD_ORT_ENTRY(19, Status*, DisableCpuMemArena, SessionOptions*)
  SWITCHYARD_ORT_ENTRY(22, Status*, SetSessionLogSeverityLevel, SessionOptions*, int level)
  SWITCHYARD_ORT_ENTRY(23, Status*, SetSessionGraphOptimizationLevel, SessionOptions*, int level)
  SWITCHYARD_ORT_ENTRY(24, Status*, SetIntraOpNumThreads, SessionOptions*, int threads)
  SWITCHYARD_ORT_ENTRY(25, Status*, SetInterOpNumThreads, SessionOptions*, int threads)
  /** The handle is the library's, which the caller may close when no session uses it any more. */
  SWITCHYARD_ORT_ENTRY(29, Status*, RegisterCustomOpsLibrary, SessionOptions*, const char* path, void** library)
  SWITCHYARD_ORT_ENTRY(30, Status*, SessionGetInputCount, const SessionHandle*, size_t*)
  SWITCHYARD_ORT_ENTRY(31, Status*, SessionGetOutputCount, const SessionHandle*, size_t*)
  SWITCHYARD_ORT_ENTRY(33, Status*, SessionGetInputTypeInfo, const SessionHandle*, size_t index, TypeInfo**)
  SWITCHYARD_ORT_ENTRY(34, Status*, SessionGetOutputTypeInfo, const SessionHandle*, size_t index, TypeInfo**)
  SWITCHYARD_ORT_ENTRY(36, Status*, SessionGetInputName, const SessionHandle*, size_t index, Allocator*, char**)
  SWITCHYARD_ORT_ENTRY(37, Status*, SessionGetOutputName, const SessionHandle*, size_t index, Allocator*, char**)
  SWITCHYARD_ORT_ENTRY(39, Status*, CreateRunOptions, RunOptions**)
  SWITCHYARD_ORT_ENTRY(48, Status*, CreateTensorAsOrtValue, Allocator*, const int64_t* dims, size_t rank, int type,
                       Value**)
  SWITCHYARD_ORT_ENTRY(49, Status*, CreateTensorWithDataAsOrtValue, const MemoryInfo*, void* data, size_t bytes,
                       const int64_t* dims, size_t rank, int type, Value**)
  SWITCHYARD_ORT_ENTRY(51, Status*, GetTensorMutableData, Value*, void**)
  SWITCHYARD_ORT_ENTRY(52, Status*, FillStringTensor, Value*, const char* const* strings, size_t count)
  SWITCHYARD_ORT_ENTRY(53, Status*, GetStringTensorDataLength, const Value*, size_t*)
  SWITCHYARD_ORT_ENTRY(54, Status*, GetStringTensorContent, const Value*, void* bytes, size_t length, size_t* offsets,
                       size_t count)
  /** Null in the result: it is no tensor. The result belongs to the TypeInfo. */
  SWITCHYARD_ORT_ENTRY(55, Status*, CastTypeInfoToTensorInfo, const TypeInfo*, const TensorInfo**)
  SWITCHYARD_ORT_ENTRY(60, Status*, GetTensorElementType, const TensorInfo*, int*)
  SWITCHYARD_ORT_ENTRY(61, Status*, GetDimensionsCount, const TensorInfo*, size_t*)
  SWITCHYARD_ORT_ENTRY(62, Status*, GetDimensions, const TensorInfo*, int64_t* dims, size_t rank)
  /** The names belong to the TensorInfo; empty where a dim has none. */
  SWITCHYARD_ORT_ENTRY(63, Status*, GetSymbolicDimensions, const TensorInfo*, const char** names, size_t rank)
  SWITCHYARD_ORT_ENTRY(64, Status*, GetTensorShapeElementCount, const TensorInfo*, size_t*)
  SWITCHYARD_ORT_ENTRY(65, Status*, GetTensorTypeAndShape, const Value*, TensorInfo**)
  SWITCHYARD_ORT_ENTRY(68, Status*, CreateMemoryInfo, const char* name, int allocatorType, int device, int memoryType,
                       MemoryInfo**)
  SWITCHYARD_ORT_ENTRY(69, Status*, CreateCpuMemoryInfo, int allocatorType, int memoryType, MemoryInfo**)
  SWITCHYARD_ORT_ENTRY(75, Status*, AllocatorAlloc, Allocator*, size_t bytes, void**)
  SWITCHYARD_ORT_ENTRY(76, Status*, AllocatorFree, Allocator*, void*)
  /** Belongs to the runtime. */
  SWITCHYARD_ORT_ENTRY(78, Status*, GetAllocatorWithDefaultOptions, Allocator**)
  SWITCHYARD_ORT_ENTRY(93, void, ReleaseStatus, Status*)
  SWITCHYARD_ORT_ENTRY(94, void, ReleaseMemoryInfo, MemoryInfo*)
  SWITCHYARD_ORT_ENTRY(95, void, ReleaseSession, SessionHandle*)
  SWITCHYARD_ORT_ENTRY(96, void, ReleaseValue, Value*)
  SWITCHYARD_ORT_ENTRY(97, void, ReleaseRunOptions, RunOptions*)
  SWITCHYARD_ORT_ENTRY(98, void, ReleaseTypeInfo, TypeInfo*)
  SWITCHYARD_ORT_ENTRY(99, void, ReleaseTensorTypeAndShapeInfo, TensorInfo*)
  SWITCHYARD_ORT_ENTRY(100, void, ReleaseSessionOptions, SessionOptions*)
  SWITCHYARD_ORT_ENTRY(119, Status*, CreateEnvWithGlobalThreadPools, int logSeverity, const char* logId,
                       const ThreadingOptions*, Env**)
  SWITCHYARD_ORT_ENTRY(120, Status*, DisablePerSessionThreads, SessionOptions*)
  SWITCHYARD_ORT_ENTRY(121, Status*, CreateThreadingOptions, ThreadingOptions**)
  SWITCHYARD_ORT_ENTRY(122, void, ReleaseThreadingOptions, ThreadingOptions*)
  SWITCHYARD_ORT_ENTRY(130, Status*, AddSessionConfigEntry, SessionOptions*, const char* key, const char* value)
  /** An allocator of the session's provider for that memory; ReleaseAllocator gives it back. */
  SWITCHYARD_ORT_ENTRY(131, Status*, CreateAllocator, const SessionHandle*, const MemoryInfo*, Allocator**)
  SWITCHYARD_ORT_ENTRY(132, void, ReleaseAllocator, Allocator*)
  SWITCHYARD_ORT_ENTRY(133, Status*, RunWithBinding, SessionHandle*, const RunOptions*, const IoBinding*)
  SWITCHYARD_ORT_ENTRY(134, Status*, CreateIoBinding, SessionHandle*, IoBinding**)
  SWITCHYARD_ORT_ENTRY(135, void, ReleaseIoBinding, IoBinding*)
  SWITCHYARD_ORT_ENTRY(136, Status*, BindInput, IoBinding*, const char* name, const Value*)
  SWITCHYARD_ORT_ENTRY(137, Status*, BindOutput, IoBinding*, const char* name, const Value*)
  SWITCHYARD_ORT_ENTRY(147, Status*, SetGlobalIntraOpNumThreads, ThreadingOptions*, int threads)
  SWITCHYARD_ORT_ENTRY(148, Status*, SetGlobalInterOpNumThreads, ThreadingOptions*, int threads)
  SWITCHYARD_ORT_ENTRY(149, Status*, SetGlobalSpinControl, ThreadingOptions*, int spin)
  SWITCHYARD_ORT_ENTRY(165, Status*, AddRunConfigEntry, RunOptions*, const char* key, const char* value)
  SWITCHYARD_ORT_ENTRY(170, Status*, AppendTensorRt, SessionOptions*, const TensorRtOptions*)
  SWITCHYARD_ORT_ENTRY(171, Status*, CreateTensorRtOptions, TensorRtOptions**)
  SWITCHYARD_ORT_ENTRY(172, Status*, UpdateTensorRtOptions, TensorRtOptions*, const char* const* keys,
                       const char* const* values, size_t count)
  SWITCHYARD_ORT_ENTRY(174, void, ReleaseTensorRtOptions, TensorRtOptions*)
  SWITCHYARD_ORT_ENTRY(204, Status*, AppendCuda, SessionOptions*, const CudaOptions*)
  SWITCHYARD_ORT_ENTRY(205, Status*, CreateCudaOptions, CudaOptions**)
  SWITCHYARD_ORT_ENTRY(206, Status*, UpdateCudaOptions, CudaOptions*, const char* const* keys,
                       const char* const* values, size_t count)
  SWITCHYARD_ORT_ENTRY(208, void, ReleaseCudaOptions, CudaOptions*)
  SWITCHYARD_ORT_ENTRY(261, Status*, UpdateTensorRtOption, TensorRtOptions*, const char* key, void* value)
  SWITCHYARD_ORT_ENTRY(263, Status*, UpdateCudaOption, CudaOptions*, const char* key, void* value)
};

#undef SWITCHYARD_ORT_ENTRY

}  // namespace switchyard::ort
