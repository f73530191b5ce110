#include "stage_cuda.h"

#include <algorithm>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "captures.h"
#include "stage_pipeline.h"

namespace switchyard::stage {

namespace {

/** As ONNX Runtime numbers them. */
constexpr int kArena = 1;
constexpr int kDefaultMemory = 0;

size_t rowsOf(const CudaPlan& plan) { return plan.maxRows == 0 ? 1 : plan.maxRows; }

}  // namespace

std::unique_ptr<CudaDevice> CudaDevice::open(const ort::Runtime& runtime, const CudaApi& cuda, const CudaPlan& plan,
                                             int& slots, std::string& problem) {
  std::unique_ptr<CudaDevice> made(new CudaDevice(runtime, cuda, plan));
  // Let go before a device that failed is destroyed: that takes it too.
  const std::shared_lock<Captures> beside(captures());
  problem = made->load();
  if (!problem.empty()) return nullptr;
  size_t bytes = 0;
  for (const auto* list : {&made->inputs_, &made->outputs_}) {
    for (const Tensor& tensor : *list) bytes += tensor.rowBytes * rowsOf(plan);
  }
  const int wanted = std::min(slots, slotsWithin(plan.slots, bytes, plan.limit));
  if (wanted == 0) {
    problem = "one batch takes " + std::to_string(bytes) + " bytes of device memory, the limit is " + std::to_string(plan.limit);
    return nullptr;
  }
  // Weights are in the limited memory already, and other processes may use the GPU: what did not fit is left out.
  for (slots = 0; slots < wanted; slots++) {
    problem = made->makeSlot();
    if (problem.empty()) continue;
    made->freeSlot(made->slots_.back());
    made->slots_.pop_back();
    break;
  }
  if (slots == 0) return nullptr;
  problem.clear();
  return made;
}

std::string CudaDevice::load() {
  CudaStatus status = cuda_.setDevice(plan_.device);
  if (status == 0) status = cuda_.streamCreate(&compute_, kStreamNonBlocking);
  if (status != 0) return outcome(status, "GPU " + std::to_string(plan_.device)).message;
  ort::SessionOptions* options = nullptr;
  std::string problem = ort::makeOptions(api_, plan_.options, compute_, &options);
  if (problem.empty()) problem = ort::take(api_, api_.CreateSession(runtime_.env, plan_.path.c_str(), options, &session_));
  if (options != nullptr) api_.ReleaseSessionOptions(options);
  if (problem.empty()) problem = ort::describe(runtime_, session_, true, inputInfos_);
  if (problem.empty()) problem = ort::describe(runtime_, session_, false, outputInfos_);
  if (problem.empty()) problem = measure(true, inputs_);
  if (problem.empty()) problem = measure(false, outputs_);
  if (problem.empty()) {
    problem = ort::take(api_, api_.CreateMemoryInfo("Cuda", kArena, plan_.device, kDefaultMemory, &deviceInfo_));
  }
  if (problem.empty()) problem = ort::take(api_, api_.CreateAllocator(session_, deviceInfo_, &deviceMemory_));
  return problem;
}

std::string CudaDevice::measure(bool inputs, std::vector<Tensor>& tensors) {
  const std::vector<ort::ValueInfo>& infos = inputs ? inputInfos_ : outputInfos_;
  for (const StagedTensor& planned : inputs ? plan_.inputs : plan_.outputs) {
    Tensor tensor{planned, 0, 0};
    for (const ort::ValueInfo& info : infos) {
      if (info.name == planned.name && info.isTensor) tensor.type = info.type;
    }
    tensor.rowBytes = ort::elementBytes(tensor.type);
    for (const int64_t dim : planned.dims) {
      if (dim < 0 || __builtin_mul_overflow(tensor.rowBytes, static_cast<size_t>(dim), &tensor.rowBytes)) tensor.rowBytes = 0;
    }
    size_t whole = 0;
    if (tensor.rowBytes == 0 || __builtin_mul_overflow(tensor.rowBytes, rowsOf(plan_), &whole)) {
      return (inputs ? "input \"" : "output \"") + planned.name + "\" cannot be staged";
    }
    tensors.push_back(std::move(tensor));
  }
  if (inputs && tensors.size() != infos.size()) return "not all inputs of the model are planned";
  return {};
}

std::vector<size_t> CudaDevice::rowBytes(bool inputs) const {
  std::vector<size_t> list;
  for (const Tensor& tensor : inputs ? inputs_ : outputs_) list.push_back(tensor.rowBytes);
  return list;
}

std::string CudaDevice::makeSlot() {
  slots_.emplace_back();
  SlotMemory& slot = slots_.back();
  CudaStatus status = cuda_.streamCreate(&slot.stream, kStreamNonBlocking);
  for (CudaEvent& event : slot.events) {
    if (status == 0) status = cuda_.eventCreate(&event, kEventFlags);
  }
  if (status != 0) return outcome(status, "a slot's stream").message;
  std::string problem;
  for (const Tensor& tensor : inputs_) {
    slot.inputs.emplace_back();
    if (problem.empty()) problem = place(tensor, slot.inputs.back());
  }
  for (const Tensor& tensor : outputs_) {
    slot.outputs.emplace_back();
    if (problem.empty()) problem = place(tensor, slot.outputs.back());
  }
  return problem;
}

std::string CudaDevice::place(const Tensor& tensor, Place& place) {
  const size_t bytes = tensor.rowBytes * rowsOf(plan_);
  void* host = nullptr;
  const CudaStatus status = cuda_.hostAlloc(&host, bytes, kHostPortable);
  if (status != 0) return outcome(status, std::to_string(bytes) + " bytes of pinned memory").message;
  place.host = static_cast<uint8_t*>(host);
  std::string problem = ort::take(api_, api_.AllocatorAlloc(deviceMemory_, bytes, &place.device));
  if (problem.empty() && place.device == nullptr) {
    problem = "there is no memory for " + std::to_string(bytes) + " bytes of \"" + tensor.plan.name + "\"";
  }
  return problem;
}

void CudaDevice::freeSlot(SlotMemory& slot) {
  for (const auto* list : {&slot.inputs, &slot.outputs}) {
    for (const Place& place : *list) {
      if (place.host != nullptr) cuda_.hostFree(place.host);
      if (place.device != nullptr) ort::take(api_, api_.AllocatorFree(deviceMemory_, place.device));
    }
  }
  for (const CudaEvent event : slot.events) {
    if (event != nullptr) cuda_.eventDestroy(event);
  }
  if (slot.stream != nullptr) cuda_.streamDestroy(slot.stream);
}

CudaDevice::~CudaDevice() {
  const std::shared_lock<Captures> beside(captures());
  cuda_.setDevice(plan_.device);
  // Whatever is still queued ends first; on a lost device this fails at once.
  if (compute_ != nullptr) cuda_.streamSynchronize(compute_);
  for (SlotMemory& slot : slots_) {
    if (slot.stream != nullptr) cuda_.streamSynchronize(slot.stream);
  }
  for (auto& [key, bound] : bound_) release(bound);
  for (SlotMemory& slot : slots_) freeSlot(slot);
  if (deviceMemory_ != nullptr) api_.ReleaseAllocator(deviceMemory_);
  if (deviceInfo_ != nullptr) api_.ReleaseMemoryInfo(deviceInfo_);
  if (session_ != nullptr) api_.ReleaseSession(session_);
  if (compute_ != nullptr) cuda_.streamDestroy(compute_);
}

void CudaDevice::release(Bound& bound) {
  if (bound.binding != nullptr) api_.ReleaseIoBinding(bound.binding);
  for (ort::Value* value : bound.values) api_.ReleaseValue(value);
  if (bound.options != nullptr) api_.ReleaseRunOptions(bound.options);
  bound = {};
}

std::string CudaDevice::bind(int slot, size_t rows, int graph, Bound& bound) {
  std::string problem = ort::take(api_, api_.CreateIoBinding(session_, &bound.binding));
  if (problem.empty()) problem = ort::take(api_, api_.CreateRunOptions(&bound.options));
  // The end of a run is an event, not a wait of the thread that queues it.
  const auto option = [&](const char* key, const std::string& value) {
    if (problem.empty()) problem = ort::take(api_, api_.AddRunConfigEntry(bound.options, key, value.c_str()));
  };
  option("disable_synchronize_execution_providers", "1");
  if (graph > 0) option("gpu_graph_id", std::to_string(graph));
  for (size_t i = 0; i < inputs_.size() && problem.empty(); i++) {
    problem = bindOne(inputs_[i], at(slot).inputs[i], rows, true, bound);
  }
  for (size_t i = 0; i < outputs_.size() && problem.empty(); i++) {
    problem = bindOne(outputs_[i], at(slot).outputs[i], rows, false, bound);
  }
  return problem;
}

std::string CudaDevice::bindOne(const Tensor& tensor, const Place& place, size_t rows, bool input, Bound& bound) {
  std::vector<int64_t> dims;
  if (plan_.maxRows > 0) dims.push_back(static_cast<int64_t>(rows));
  dims.insert(dims.end(), tensor.plan.dims.begin(), tensor.plan.dims.end());
  ort::Value* value = nullptr;
  std::string problem =
      ort::take(api_, api_.CreateTensorWithDataAsOrtValue(deviceInfo_, place.device, tensor.rowBytes * rows, dims.data(),
                                                          dims.size(), tensor.type, &value));
  if (!problem.empty()) return problem;
  bound.values.push_back(value);
  const char* const name = tensor.plan.name.c_str();
  return ort::take(api_, input ? api_.BindInput(bound.binding, name, value) : api_.BindOutput(bound.binding, name, value));
}

Outcome CudaDevice::outcome(CudaStatus status, const std::string& what) {
  if (status == 0) return {};
  cuda_.getLastError();
  return {false, losesDevice(status), what + ": CUDA error " + std::to_string(status) + ", " + cuda_.errorString(status)};
}

/** ONNX Runtime's failure, which may be the device's: the compute stream tells. */
Outcome CudaDevice::failed(std::string message) {
  const CudaStatus status = cuda_.streamSynchronize(compute_);
  if (status != 0) cuda_.getLastError();
  return {false, losesDevice(status), std::move(message)};
}

Outcome CudaDevice::copyIn(int slot, size_t rows) {
  CudaStatus status = cuda_.setDevice(plan_.device);
  for (size_t i = 0; i < inputs_.size() && status == 0; i++) {
    const Place& place = at(slot).inputs[i];
    status = cuda_.copyAsync(place.device, place.host, inputs_[i].rowBytes * rows, kHostToDevice, at(slot).stream);
  }
  return outcome(status, "copying to the GPU");
}

Outcome CudaDevice::launch(int slot, size_t rows, int graph) {
  Bound& bound = bound_[{slot, rows}];
  std::shared_lock<Captures> beside(captures(), std::defer_lock);
  std::unique_lock<Captures> alone(captures(), std::defer_lock);
  if (graph > 0 && !bound.captured) alone.lock();
  else beside.lock();
  std::string problem = bound.binding == nullptr ? bind(slot, rows, graph, bound) : "";
  if (problem.empty()) problem = ort::take(api_, api_.RunWithBinding(session_, bound.options, bound.binding));
  if (!problem.empty()) {
    release(bound);
    return failed(std::move(problem));
  }
  bound.captured = true;
  return {};
}

Outcome CudaDevice::copyOut(int slot, size_t rows) {
  CudaStatus status = 0;
  for (size_t i = 0; i < outputs_.size() && status == 0; i++) {
    const Place& place = at(slot).outputs[i];
    status = cuda_.copyAsync(place.host, place.device, outputs_[i].rowBytes * rows, kDeviceToHost, at(slot).stream);
  }
  return outcome(status, "copying from the GPU");
}

Outcome CudaDevice::record(Event event, int slot) {
  const CudaStream stream = event == Event::kRan ? compute_ : at(slot).stream;
  return outcome(cuda_.eventRecord(at(slot).events[static_cast<int>(event)], stream), "recording an event");
}

Outcome CudaDevice::wait(Event event, int slot) {
  const CudaStream stream = event == Event::kRan ? at(slot).stream : compute_;
  return outcome(cuda_.streamWaitEvent(stream, at(slot).events[static_cast<int>(event)], 0), "waiting for an event");
}

Outcome CudaDevice::sync(int slot) {
  return outcome(cuda_.eventSynchronize(at(slot).events[static_cast<int>(Event::kDownloaded)]), "waiting for the GPU");
}

Outcome CudaDevice::drain(int slot) {
  CudaStatus status = cuda_.streamSynchronize(compute_);
  if (status == 0) status = cuda_.streamSynchronize(at(slot).stream);
  return outcome(status, "waiting for the GPU");
}

}  // namespace switchyard::stage
