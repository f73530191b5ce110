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
  SWITCHYARD_ORT_ENTRY(3, Status*, CreateEnv, int logSeverity, const char* logId, Env**)
  SWITCHYARD_ORT_ENTRY(7, Status*, CreateSession, const Env*, const char* path, const SessionOptions*, SessionHandle**)
  SWITCHYARD_ORT_ENTRY(9, Status*, Run, SessionHandle*, const void* runOptions, const char* const* inputNames,
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
  SWITCHYARD_ORT_ENTRY(30, Status*, SessionGetInputCount, const SessionHandle*, size_t*)
  SWITCHYARD_ORT_ENTRY(31, Status*, SessionGetOutputCount, const SessionHandle*, size_t*)
  SWITCHYARD_ORT_ENTRY(33, Status*, SessionGetInputTypeInfo, const SessionHandle*, size_t index, TypeInfo**)
  SWITCHYARD_ORT_ENTRY(34, Status*, SessionGetOutputTypeInfo, const SessionHandle*, size_t index, TypeInfo**)
  SWITCHYARD_ORT_ENTRY(36, Status*, SessionGetInputName, const SessionHandle*, size_t index, Allocator*, char**)
  SWITCHYARD_ORT_ENTRY(37, Status*, SessionGetOutputName, const SessionHandle*, size_t index, Allocator*, char**)
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
  SWITCHYARD_ORT_ENTRY(64, Status*, GetTensorShapeElementCount, const TensorInfo*, size_t*)
  SWITCHYARD_ORT_ENTRY(65, Status*, GetTensorTypeAndShape, const Value*, TensorInfo**)
  SWITCHYARD_ORT_ENTRY(69, Status*, CreateCpuMemoryInfo, int allocatorType, int memoryType, MemoryInfo**)
  SWITCHYARD_ORT_ENTRY(76, Status*, AllocatorFree, Allocator*, void*)
  /** Belongs to the runtime. */
  SWITCHYARD_ORT_ENTRY(78, Status*, GetAllocatorWithDefaultOptions, Allocator**)
  SWITCHYARD_ORT_ENTRY(93, void, ReleaseStatus, Status*)
  SWITCHYARD_ORT_ENTRY(95, void, ReleaseSession, SessionHandle*)
  SWITCHYARD_ORT_ENTRY(96, void, ReleaseValue, Value*)
  SWITCHYARD_ORT_ENTRY(98, void, ReleaseTypeInfo, TypeInfo*)
  SWITCHYARD_ORT_ENTRY(99, void, ReleaseTensorTypeAndShapeInfo, TensorInfo*)
  SWITCHYARD_ORT_ENTRY(100, void, ReleaseSessionOptions, SessionOptions*)
  SWITCHYARD_ORT_ENTRY(130, Status*, AddSessionConfigEntry, SessionOptions*, const char* key, const char* value)
};

#undef SWITCHYARD_ORT_ENTRY

}  // namespace switchyard::ort
