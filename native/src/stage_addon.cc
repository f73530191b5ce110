// The binding of models that are staged on a GPU. JavaScript fills slots and reads answers; the worker's threads do the rest.
#include "stage_addon.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "cuda_api.h"
#include "ort_values.h"
#include "stage_cuda.h"
#include "stage_worker.h"
#include "values.h"

namespace switchyard::stage {

namespace {

/** A model on one GPU, as JavaScript holds it. */
struct Stager {
  napi_env env = nullptr;
  napi_threadsafe_function wake = nullptr;
  CudaPlan plan;
  std::vector<size_t> inputBytes;
  std::vector<size_t> outputBytes;
  std::vector<ort::ValueInfo> inputs;
  std::vector<ort::ValueInfo> outputs;
  std::unique_ptr<Worker> worker;

  /** Ends the threads, then the way by which they wake JavaScript. */
  void close() {
    if (wake == nullptr) return;
    napi_remove_env_cleanup_hook(env, closeAtEnd, this);
    worker.reset();
    napi_release_threadsafe_function(wake, napi_tsfn_release);
    wake = nullptr;
  }

  /** A thread that ends takes its models along before Node takes the functions that their threads would call. */
  static void closeAtEnd(void* self) { static_cast<Stager*>(self)->close(); }
};

napi_value fail(napi_env env, const std::string& message) {
  napi_throw_error(env, nullptr, message.c_str());
  return nullptr;
}

Stager* stagerOf(napi_env env, napi_value value) {
  napi_valuetype type;
  void* data = nullptr;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_external) return nullptr;
  return napi_get_value_external(env, value, &data) == napi_ok ? static_cast<Stager*>(data) : nullptr;
}

/** Whole numbers out of a Float64Array, one after the other. */
struct Numbers {
  const double* at = nullptr;
  size_t left = 0;
  bool good = true;

  size_t next(double limit) {
    const double value = left > 0 ? *at : -1;
    good = good && value >= 0 && value <= limit && value == std::floor(value);
    if (!good) return 0;
    at++;
    left--;
    return static_cast<size_t>(value);
  }
};

constexpr double kMaxBytes = 9007199254740991.0;

bool readTensors(Numbers& numbers, const std::vector<std::string>& names, size_t& name, std::vector<StagedTensor>& tensors) {
  const size_t count = numbers.next(65536);
  for (size_t i = 0; i < count && numbers.good; i++) {
    if (name >= names.size()) return false;
    StagedTensor tensor{names[name++], {}};
    const size_t rank = numbers.next(ort::kMaxRank - 1);
    for (size_t d = 0; d < rank && numbers.good; d++) tensor.dims.push_back(static_cast<int64_t>(numbers.next(kMaxBytes)));
    tensors.push_back(std::move(tensor));
  }
  return numbers.good;
}

bool readPlan(Numbers numbers, const std::vector<std::string>& names, CudaPlan& plan, std::vector<size_t>& buckets) {
  plan.device = static_cast<int>(numbers.next(1023));
  plan.slots = static_cast<int>(numbers.next(64));
  plan.maxRows = numbers.next(1 << 24);
  plan.limit = numbers.next(kMaxBytes);
  const size_t count = numbers.next(4096);
  for (size_t i = 0; i < count && numbers.good; i++) buckets.push_back(numbers.next(1 << 24));
  size_t name = 0;
  return readTensors(numbers, names, name, plan.inputs) && readTensors(numbers, names, name, plan.outputs) &&
         name == names.size() && plan.slots > 0;
}

/**
 * stageOpen(cudaLibrary: string, path: string, numbers, entries, extensions, plan: Float64Array, names: string[], wake: () =>
 * void): stager. The third to fifth as readOptions takes them. plan: device, slots, most rows (0: no batches), bytes of device
 * memory for slots (0: no limit), count of batch buckets and each, then for inputs and outputs their count and for each its
 * rank and dims without the batch; names: theirs. Returns at once; `wake` is called once it is open or has failed, and when
 * batches were answered.
 */
napi_value open(napi_env env, napi_callback_info info) {
  size_t count = 8;
  napi_value arguments[8];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  auto stager = std::unique_ptr<Stager>(new (std::nothrow) Stager());
  if (stager == nullptr) return fail(env, "there is no memory for a model");
  std::string library;
  std::vector<std::string> names;
  std::vector<size_t> buckets;
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (count < 8 || !ort::readText(env, arguments[0], library) || !ort::readText(env, arguments[1], stager->plan.path) ||
      !ort::readOptions(env, arguments[2], arguments[3], arguments[4], stager->plan.options) ||
      napi_get_typedarray_info(env, arguments[5], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_float64_array || !ort::readTexts(env, arguments[6], names) ||
      !readPlan({static_cast<const double*>(data), length}, names, stager->plan, buckets)) {
    napi_throw_type_error(env, nullptr, "stageOpen takes two strings, session options, a plan, names and a function");
    return nullptr;
  }
  const ort::Runtime* const runtime = ort::runtime();
  if (runtime == nullptr) return fail(env, "ONNX Runtime is not open");
  napi_value name;
  napi_value external;
  Stager* const it = stager.get();
  it->env = env;
  if (napi_create_string_utf8(env, "switchyard.stage", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_threadsafe_function(env, arguments[7], nullptr, name, 0, 1, nullptr, nullptr, nullptr, nullptr,
                                      &it->wake) != napi_ok) {
    return nullptr;
  }
  const auto release = [](napi_env, void* pointer, void*) {
    auto* const gone = static_cast<Stager*>(pointer);
    gone->close();
    delete gone;
  };
  napi_add_env_cleanup_hook(env, Stager::closeAtEnd, it);
  if (napi_create_external(env, it, release, nullptr, &external) != napi_ok) {
    it->close();
    return nullptr;
  }
  stager.release();
  // What the thread writes into the stager is read only after it has been woken for.
  const auto openDevice = [it, runtime, library](int& slots, std::string& problem) -> std::unique_ptr<Device> {
    CudaApi cuda;
    problem = openCuda(library.c_str(), cuda);
    if (!problem.empty()) return nullptr;
    std::unique_ptr<CudaDevice> device = CudaDevice::open(*runtime, cuda, it->plan, slots, problem);
    if (device == nullptr) return nullptr;
    it->inputs = device->inputInfos();
    it->outputs = device->outputInfos();
    it->inputBytes = device->rowBytes(true);
    it->outputBytes = device->rowBytes(false);
    return device;
  };
  const napi_threadsafe_function wake = it->wake;
  it->worker = std::make_unique<Worker>(openDevice, std::move(buckets), it->plan.maxRows,
                                        [wake] { napi_call_threadsafe_function(wake, nullptr, napi_tsfn_nonblocking); });
  return external;
}

bool set(napi_env env, napi_value object, const char* name, napi_value value) {
  return value != nullptr && napi_set_named_property(env, object, name, value) == napi_ok;
}

napi_value number(napi_env env, int64_t value) {
  napi_value made = nullptr;
  napi_create_int64(env, value, &made);
  return made;
}

napi_value text(napi_env env, const std::string& value) {
  napi_value made = nullptr;
  napi_create_string_utf8(env, value.data(), value.size(), &made);
  return made;
}

napi_value flag(napi_env env, bool value) {
  napi_value made = nullptr;
  napi_get_boolean(env, value, &made);
  return made;
}

/** The open stager that a call is about; null, with an error thrown, where it is closed or something else. */
Stager* openStager(napi_env env, size_t count, size_t wanted, const napi_value* arguments) {
  Stager* const stager = count < wanted ? nullptr : stagerOf(env, arguments[0]);
  if (stager == nullptr) {
    napi_throw_type_error(env, nullptr, "the first argument is a stager, and none may be missing");
    return nullptr;
  }
  if (stager->worker != nullptr) return stager;
  fail(env, "the model is unloaded");
  return nullptr;
}

/**
 * stageState(stager): {open: boolean, problem: string, slots: number, lost: boolean, inputs, outputs}. Neither open nor a
 * problem: it is still being opened. inputs, outputs: as ortLoad's.
 */
napi_value state(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arguments[1];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  Stager* const stager = openStager(env, count, 1, arguments);
  if (stager == nullptr) return nullptr;
  std::string problem;
  const bool open = stager->worker->state(problem) == Worker::State::kOpen;
  napi_value result;
  napi_create_object(env, &result);
  static const std::vector<ort::ValueInfo> kNone;
  const bool complete = set(env, result, "open", flag(env, open)) && set(env, result, "problem", text(env, problem)) &&
                        set(env, result, "slots", number(env, stager->worker->slots())) &&
                        set(env, result, "lost", flag(env, stager->worker->lost())) &&
                        set(env, result, "inputs", ort::describeValues(env, open ? stager->inputs : kNone)) &&
                        set(env, result, "outputs", ort::describeValues(env, open ? stager->outputs : kNone));
  return complete ? result : nullptr;
}

/** The memory of some Uint8Arrays. False: they are something else. */
bool readPieces(napi_env env, napi_value list, std::vector<Piece>& pieces) {
  uint32_t count = 0;
  if (napi_get_array_length(env, list, &count) != napi_ok) return false;
  pieces.clear();
  for (uint32_t i = 0; i < count; i++) {
    napi_value value;
    napi_typedarray_type type;
    size_t bytes = 0;
    void* data = nullptr;
    if (napi_get_element(env, list, i, &value) != napi_ok ||
        napi_get_typedarray_info(env, value, &type, &bytes, &data, nullptr, nullptr) != napi_ok || type != napi_uint8_array) {
      return false;
    }
    pieces.push_back({static_cast<const uint8_t*>(data), bytes});
  }
  return true;
}

/**
 * stageRun(stager, rows: number, inputs: Uint8Array[][]): number. Copies the inputs, in the plan's order and each in one or
 * several pieces of whole rows, into a free slot, and starts; returns the slot, or -1 where none is free. What the pieces
 * lack of `rows`, or of the larger batch that is run, repeats their last row.
 */
napi_value run(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  Stager* const stager = openStager(env, count, 3, arguments);
  if (stager == nullptr) return nullptr;
  uint32_t rows = 0;
  uint32_t length = 0;
  const size_t most = stager->plan.maxRows == 0 ? 1 : stager->plan.maxRows;
  if (napi_get_value_uint32(env, arguments[1], &rows) != napi_ok || rows == 0 || rows > most ||
      napi_get_array_length(env, arguments[2], &length) != napi_ok || length != stager->plan.inputs.size()) {
    napi_throw_type_error(env, nullptr, "stageRun takes a stager, rows that fit and Uint8Arrays for each input");
    return nullptr;
  }
  Worker& worker = *stager->worker;
  const int slot = worker.take();
  if (slot < 0) return number(env, -1);
  const size_t whole = worker.padded(rows);
  std::vector<Piece> pieces;
  for (uint32_t i = 0; i < length; i++) {
    napi_value list;
    if (napi_get_element(env, arguments[2], i, &list) != napi_ok || !readPieces(env, list, pieces) ||
        !fillRows(worker.device().input(slot, i), pieces, rows, whole, stager->inputBytes[i])) {
      worker.release(slot);
      return fail(env, "input \"" + stager->plan.inputs[i].name + "\" does not fill its shape");
    }
  }
  worker.submit(slot, rows);
  return number(env, slot);
}

/** stageAnswered(stager): {slot: number, problem: string, lost: boolean}[]: what was answered since the last call, in order. */
napi_value answered(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arguments[1];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  Stager* const stager = openStager(env, count, 1, arguments);
  if (stager == nullptr) return nullptr;
  const auto answers = stager->worker->answered();
  napi_value list;
  if (napi_create_array_with_length(env, answers.size(), &list) != napi_ok) return nullptr;
  for (uint32_t i = 0; i < answers.size(); i++) {
    const auto& [slot, outcome] = answers[i];
    napi_value item;
    napi_create_object(env, &item);
    if (!set(env, item, "slot", number(env, slot)) || !set(env, item, "problem", text(env, outcome.message)) ||
        !set(env, item, "lost", flag(env, outcome.lost))) {
      return nullptr;
    }
    napi_set_element(env, list, i, item);
  }
  return list;
}

/**
 * stageRead(stager, slot: number, rows: number, outputs: number[]): ArrayBuffer[]. The first rows of an answered slot's
 * outputs, by their numbers in the plan, each in memory that V8 owns; the slot is free again.
 */
napi_value read(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  Stager* const stager = openStager(env, count, 4, arguments);
  if (stager == nullptr) return nullptr;
  int32_t slot = -1;
  uint32_t rows = 0;
  uint32_t length = 0;
  Worker& worker = *stager->worker;
  const size_t most = stager->plan.maxRows == 0 ? 1 : stager->plan.maxRows;
  if (napi_get_value_int32(env, arguments[1], &slot) != napi_ok || !worker.isAnswered(slot) ||
      napi_get_value_uint32(env, arguments[2], &rows) != napi_ok || rows > most ||
      napi_get_array_length(env, arguments[3], &length) != napi_ok) {
    napi_throw_type_error(env, nullptr, "stageRead takes a stager, an answered slot, its rows and numbers of outputs");
    return nullptr;
  }
  napi_value list = nullptr;
  bool complete = napi_create_array_with_length(env, length, &list) == napi_ok;
  for (uint32_t i = 0; i < length && complete; i++) {
    napi_value value;
    uint32_t index = 0;
    complete = napi_get_element(env, arguments[3], i, &value) == napi_ok &&
               napi_get_value_uint32(env, value, &index) == napi_ok && index < stager->outputBytes.size();
    if (!complete) break;
    const size_t bytes = stager->outputBytes[index] * rows;
    void* data = nullptr;
    napi_value buffer;
    complete = napi_create_arraybuffer(env, bytes, &data, &buffer) == napi_ok;
    if (complete && bytes > 0) std::memcpy(data, worker.device().output(slot, index), bytes);
    complete = complete && napi_set_element(env, list, i, buffer) == napi_ok;
  }
  worker.release(slot);
  return complete ? list : fail(env, "there is no memory for an output");
}

/** stageClose(stager): ends what is under way, and gives the device's memory back. Waits for that. */
napi_value close(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  Stager* const stager = count < 1 ? nullptr : stagerOf(env, argument);
  if (stager == nullptr) {
    napi_throw_type_error(env, nullptr, "stageClose takes a stager");
    return nullptr;
  }
  stager->close();
  return nullptr;
}

}  // namespace

bool exportStager(napi_env env, napi_value exports) {
  return exportFunctions(env, exports,
                         {{"stageOpen", open}, {"stageState", state}, {"stageRun", run}, {"stageAnswered", answered},
                          {"stageRead", read}, {"stageClose", close}});
}

}  // namespace switchyard::stage
