// The stager's device over CUDA and ONNX Runtime: device memory from the provider's own allocator, so that its limit counts
// it; pinned memory from CUDA, since ONNX Runtime's releases differ on which GPU's number theirs goes by; one session on the
// compute stream; a binding of fixed addresses for each slot and batch size.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cuda_api.h"
#include "ort_options.h"
#include "ort_session.h"
#include "stage_device.h"

namespace switchyard::stage {

/** An input or output as it is staged. */
struct StagedTensor {
  std::string name;
  /** Without the batch dimension. */
  std::vector<int64_t> dims;
};

struct CudaPlan {
  std::string path;
  ort::Options options;
  int device = 0;
  int slots = 2;
  /** 0: the model takes no batches, and a row is the whole tensor. */
  size_t maxRows = 0;
  /** Bytes of device memory that the slots may take, 0: no limit of their own. */
  size_t limit = 0;
  std::vector<StagedTensor> inputs;
  std::vector<StagedTensor> outputs;
};

class CudaDevice : public Device {
 public:
  /**
   * Loads the model and makes at most `slots` slots, and as many of the plan's as there is memory for: `slots` says how many.
   * Null: `problem` says why.
   */
  static std::unique_ptr<CudaDevice> open(const ort::Runtime& runtime, const CudaApi& cuda, const CudaPlan& plan, int& slots,
                                          std::string& problem);
  ~CudaDevice() override;

  uint8_t* input(int slot, size_t index) override { return at(slot).inputs[index].host; }
  const uint8_t* output(int slot, size_t index) override { return at(slot).outputs[index].host; }
  Outcome copyIn(int slot, size_t rows) override;
  Outcome launch(int slot, size_t rows, int graph) override;
  Outcome copyOut(int slot, size_t rows) override;
  Outcome record(Event event, int slot) override;
  Outcome wait(Event event, int slot) override;
  Outcome sync(int slot) override;
  Outcome drain(int slot) override;

  const std::vector<ort::ValueInfo>& inputInfos() const { return inputInfos_; }
  const std::vector<ort::ValueInfo>& outputInfos() const { return outputInfos_; }
  /** Of each input, or output, in the plan's order. */
  std::vector<size_t> rowBytes(bool inputs) const;

 private:
  struct Place {
    uint8_t* host = nullptr;
    void* device = nullptr;
  };
  struct Tensor {
    StagedTensor plan;
    int type = 0;
    size_t rowBytes = 0;
  };
  struct SlotMemory {
    std::vector<Place> inputs;
    std::vector<Place> outputs;
    CudaStream stream = nullptr;
    CudaEvent events[3] = {};
  };
  /** A run of one slot with so many rows: everything at its fixed address. */
  struct Bound {
    ort::IoBinding* binding = nullptr;
    ort::RunOptions* options = nullptr;
    std::vector<ort::Value*> values;
    bool captured = false;
  };

  CudaDevice(const ort::Runtime& runtime, const CudaApi& cuda, const CudaPlan& plan)
      : runtime_(runtime), api_(runtime.api), cuda_(cuda), plan_(plan) {}
  SlotMemory& at(int slot) { return slots_[static_cast<size_t>(slot)]; }
  std::string load();
  std::string measure(bool inputs, std::vector<Tensor>& tensors);
  std::string makeSlot();
  void freeSlot(SlotMemory& slot);
  std::string place(const Tensor& tensor, Place& place);
  std::string bind(int slot, size_t rows, int graph, Bound& bound);
  std::string bindOne(const Tensor& tensor, const Place& place, size_t rows, bool input, Bound& bound);
  void release(Bound& bound);
  Outcome outcome(CudaStatus status, const std::string& what);
  Outcome failed(std::string message);

  const ort::Runtime& runtime_;
  const ort::Api& api_;
  const CudaApi cuda_;
  const CudaPlan plan_;
  CudaStream compute_ = nullptr;
  ort::SessionHandle* session_ = nullptr;
  ort::MemoryInfo* deviceInfo_ = nullptr;
  ort::Allocator* deviceMemory_ = nullptr;
  std::vector<ort::ValueInfo> inputInfos_;
  std::vector<ort::ValueInfo> outputInfos_;
  std::vector<Tensor> inputs_;
  std::vector<Tensor> outputs_;
  std::vector<SlotMemory> slots_;
  /** By slot and rows. Only the thread that queues runs looks here. */
  std::map<std::pair<int, size_t>, Bound> bound_;
};

}  // namespace switchyard::stage
