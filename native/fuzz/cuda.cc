// A libFuzzer target for the stager's device over CUDA and ONNX Runtime, and for sessions that run on GPUs without stages:
// .ci/fuzz.sh SECONDS. Under the real code are a CUDA runtime (fake_cuda.h) and a table of ONNX Runtime's entries whose
// sessions have memory limits, weights, work space and graphs. Several models on several GPUs are loaded, run and closed at
// once, while calls fail and GPUs are lost when the bytes say so.
// Checked, besides fake_cuda.h's: answers are right, each graph replays for the batch that it was captured for, as many slots
// are made as the limit holds beside weights and work space, and in the end nothing is left.
#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "fake_cuda.h"
#include "ort_sessions.h"
#include "stage_cuda.h"
#include "stage_worker.h"

namespace {

using namespace switchyard;
using fake::Guard;
using fake::machine;

// The model: numbers [rows, 6] and a shift [rows, 2] to moved [rows, 6], in bytes.
constexpr int64_t kNumbers = 6;
constexpr int64_t kShift = 2;
constexpr size_t kMaxRows = 4;
constexpr size_t kRowBytes = kNumbers + kShift + kNumbers;
constexpr size_t kWeights = 100;
constexpr size_t kWorkOfRow = 10;

void model(const uint8_t* numbers, const uint8_t* shift, uint8_t* moved, size_t rows) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t i = 0; i < kNumbers; i++) {
      moved[row * kNumbers + i] = static_cast<uint8_t>(numbers[row * kNumbers + i] * 7 + shift[row * kShift] + row);
    }
  }
}

std::atomic<int> alive{0};
struct Counted {
  Counted() { alive++; }
  Counted(const Counted&) { alive++; }
  ~Counted() { alive--; }
};
template <typename Thing>
void release(Thing* thing) {
  delete thing;
}

struct Status : Counted {
  std::string text = "it was to fail";
};
struct Options : Counted {
  int device = -1;
  size_t limit = 0;
  bool graphs = false;
  fake::Stream* stream = nullptr;
};
struct MemoryInfo : Counted {
  std::string name;
  int device = -1;
};
struct Value : Counted {
  uint8_t* data = nullptr;
  size_t rows = 0;
  size_t bytes = 0;
  /** -1: the CPU's. */
  int device = -1;
};
/** What a graph replays: memory at these addresses. */
struct Job {
  const uint8_t* numbers = nullptr;
  const uint8_t* shift = nullptr;
  uint8_t* moved = nullptr;
  size_t rows = 0;
  bool operator==(const Job& other) const {
    return numbers == other.numbers && shift == other.shift && moved == other.moved && rows == other.rows;
  }
};
struct Session : Counted {
  Options options;
  size_t used = 0;
  std::map<int, Job> graphs;
  std::optional<std::thread::id> capturer;
  std::atomic<int> running{0};
};
struct Allocator : Counted {
  Session* session = nullptr;
};
struct Binding : Counted {
  Session* session = nullptr;
  std::map<std::string, Value> values;
};
struct RunOptions : Counted {
  int graph = 0;
  bool waits = true;
};
struct TypeInfo : Counted {
  int64_t length = 0;
};

Status* failure(const char* text) {
  auto* const made = new Status();
  made->text = text;
  return made;
}
Status* maybe() {
  const Guard guard(machine().lock);
  return machine().fails() ? new Status() : nullptr;
}
template <typename Thing>
Status* create(Thing** out) {
  if (Status* const failed = maybe()) return failed;
  *out = new Thing();
  return nullptr;
}

int nothing;
const char* message(const Status* it) { return it->text.c_str(); }
Status* forever(void** out) { return *out = &nothing, nullptr; }
Status* environment(int, const char*, const void*, void** out) { return forever(out); }
Status* cpuMemory(int, int, void** out) { return forever(out); }
Status* option(void*, int) { return maybe(); }
Status* plain(void*) { return maybe(); }
Status* entry(void*, const char*, const char*) { return maybe(); }

Status* update(Options* it, const char* const* keys, const char* const* values, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const std::string key = keys[i];
    if (key == "device_id") it->device = std::atoi(values[i]);
    else if (key == "gpu_mem_limit") it->limit = static_cast<size_t>(std::atoll(values[i]));
    else if (key == "enable_cuda_graph") it->graphs = std::string(values[i]) == "1";
    else return failure("Unknown provider option");
  }
  return maybe();
}
Status* updateOne(Options* it, const char* key, void* value) {
  require(std::string(key) == "user_compute_stream");
  it->stream = static_cast<fake::Stream*>(value);
  return maybe();
}
Status* append(Options* session, const Options* cuda) {
  session->device = cuda->device;
  session->limit = cuda->limit;
  session->graphs = cuda->graphs;
  session->stream = cuda->stream;
  return maybe();
}

/** Memory of the session's GPU within its limit; null: there is none. The lock is held. */
uint8_t* take(Session& session, size_t bytes) {
  if (session.options.limit > 0 && session.used + bytes > session.options.limit) return nullptr;
  session.used += bytes;
  auto* const made = static_cast<uint8_t*>(std::malloc(bytes));
  machine().memory[made] = {session.options.device, bytes};
  return made;
}

/** Lets others come between, when the input says so: not often, as that takes a while on a machine with other work. */
void linger() {
  bool stays;
  {
    const Guard guard(machine().lock);
    stays = machine().next() % 4 == 0;
  }
  if (stays) std::this_thread::yield();
}

Status* createSession(const void*, const char*, const Options* options, Session** out) {
  const fake::Using inside;
  linger();
  if (Status* const failed = maybe()) return failed;
  const Guard guard(machine().lock);
  if (options->stream != nullptr) require(options->stream->device == options->device);
  if (options->limit > 0 && options->limit < kWeights) return failure("Available memory is smaller than requested bytes");
  auto* const made = new Session();
  made->options = *options;
  made->used = kWeights;
  *out = made;
  return nullptr;
}
void releaseSession(Session* session) {
  const fake::Using inside;
  linger();
  require(session->used == kWeights && session->running == 0);
  delete session;
}

Status* two(const Session*, size_t* out) { return *out = 2, maybe(); }
Status* one(const Session*, size_t* out) { return *out = 1, maybe(); }
Status* inputType(const Session*, size_t index, TypeInfo** out) {
  Status* const failed = create(out);
  if (failed == nullptr) (*out)->length = index == 0 ? kNumbers : kShift;
  return failed;
}
Status* outputType(const Session* session, size_t, TypeInfo** out) { return inputType(session, 0, out); }
Status* nameOf(const char* text, char** out) {
  if (Status* const failed = maybe()) return failed;
  alive++;
  *out = strdup(text);
  return nullptr;
}
Status* inputName(const Session*, size_t index, void*, char** out) { return nameOf(index == 0 ? "numbers" : "shift", out); }
Status* outputName(const Session*, size_t, void*, char** out) { return nameOf("moved", out); }
Status* cast(const TypeInfo* type, const TypeInfo** out) { return *out = type, maybe(); }
Status* elementType(const TypeInfo*, int* out) { return *out = 2, maybe(); }
Status* rank(const TypeInfo*, size_t* out) { return *out = 2, maybe(); }
Status* dims(const TypeInfo* it, int64_t* out, size_t) { return out[0] = -1, out[1] = it->length, maybe(); }
Status* symbols(const TypeInfo*, const char** out, size_t) { return out[0] = "rows", out[1] = "", maybe(); }

Status* memoryInfo(const char* name, int, int device, int, MemoryInfo** out) {
  Status* const failed = create(out);
  if (failed != nullptr) return failed;
  (*out)->name = name;
  (*out)->device = device;
  return nullptr;
}
Status* allocatorOf(const Session* session, const MemoryInfo* info, Allocator** out) {
  // Pinned memory goes by 0 in some releases, and by the GPU's number in others: whoever asks for it is wrong in one of them.
  if (info->name != "Cuda" || info->device != session->options.device) return failure("No requested allocator available");
  Status* const failed = create(out);
  if (failed == nullptr) (*out)->session = const_cast<Session*>(session);
  return failed;
}
Status* allocate(Allocator* allocator, size_t bytes, void** out) {
  const fake::Using inside;
  if (Status* const failed = maybe()) return failed;
  const Guard guard(machine().lock);
  *out = take(*allocator->session, bytes);
  return *out == nullptr ? failure("Available memory is smaller than requested bytes") : nullptr;
}
/** Names come from the CPU's allocator. */
Status* giveBack(void* allocator, void* memory) {
  if (allocator == &nothing) {
    alive--;
    std::free(memory);
    return nullptr;
  }
  const fake::Using inside;
  const Guard guard(machine().lock);
  const auto found = machine().memory.find(static_cast<uint8_t*>(memory));
  require(found != machine().memory.end());
  static_cast<Allocator*>(allocator)->session->used -= found->second.second;
  machine().memory.erase(found);
  std::free(memory);
  return nullptr;
}

Status* tensor(const void* info, void* data, size_t bytes, const int64_t* shape, size_t length, int type, Value** out) {
  require(length == 2 && type == 2 && data != nullptr && static_cast<size_t>(shape[0] * shape[1]) == bytes);
  Status* const failed = create(out);
  if (failed != nullptr) return failed;
  (*out)->data = static_cast<uint8_t*>(data);
  (*out)->rows = static_cast<size_t>(shape[0]);
  (*out)->bytes = bytes;
  (*out)->device = info == &nothing ? -1 : static_cast<const MemoryInfo*>(info)->device;
  return nullptr;
}
Status* bindingOf(Session* session, Binding** out) {
  Status* const failed = create(out);
  if (failed == nullptr) (*out)->session = session;
  return failed;
}
Status* bind(Binding* binding, const char* name, const Value* value) {
  if (Status* const failed = maybe()) return failed;
  const Guard guard(machine().lock);
  require(machine().isDevice(value->data, value->bytes, binding->session->options.device));
  binding->values[name] = *value;
  return nullptr;
}
Status* runEntry(RunOptions* it, const char* key, const char* value) {
  if (std::string(key) == "gpu_graph_id") it->graph = std::atoi(value);
  if (std::string(key) == "disable_synchronize_execution_providers") it->waits = std::string(value) != "1";
  return maybe();
}

/** Keeps its memory away from others for a while. Null: there is enough. */
Status* work(Session& session, size_t rows) {
  const fake::Using inside;
  linger();
  const Guard guard(machine().lock);
  if (session.options.limit > 0 && session.used + rows * kWorkOfRow > session.options.limit) {
    return failure("Failed to allocate memory for requested buffer");
  }
  return nullptr;
}

Status* runWithBinding(Session* session, const RunOptions* options, const Binding* binding) {
  require(!options->waits && binding->session == session && binding->values.size() == 3);
  const Value& moved = binding->values.at("moved");
  const Job job{binding->values.at("numbers").data, binding->values.at("shift").data, moved.data, moved.rows};
  const int device = session->options.device;
  Job queued = job;
  if (session->options.graphs && options->graph > 0) {
    if (session->graphs.count(options->graph) == 0) {
      // Two runs, then the capture.
      if (Status* const failed = work(*session, job.rows)) return failed;
      {
        const Guard guard(machine().lock);
        require(machine().users == 0 && !machine().capturing);
        machine().capturing = true;
      }
      linger();
      Status* const failed = maybe();
      const Guard guard(machine().lock);
      machine().capturing = false;
      if (failed != nullptr) return failed;
      require(session->capturer.value_or(std::this_thread::get_id()) == std::this_thread::get_id());
      session->capturer = std::this_thread::get_id();
      session->graphs[options->graph] = job;
    }
    require(session->capturer == std::this_thread::get_id());
    queued = session->graphs.at(options->graph);
    require(queued == job);
  } else if (Status* const failed = work(*session, job.rows)) {
    return failed;
  }
  const Guard guard(machine().lock);
  if (machine().status(device, fake::kInvalidValue) != 0) return new Status();
  machine().queue(*session->options.stream, {[queued] { model(queued.numbers, queued.shift, queued.moved, queued.rows); }});
  return nullptr;
}

/** From the CPU's memory to the CPU's: the runtime copies, and waits. */
Status* run(Session* session, const void*, const char* const*, const Value* const* inputs, size_t, const char* const*, size_t,
            Value** outputs) {
  session->running++;
  Status* failed = work(*session, inputs[0]->rows);
  if (failed == nullptr) failed = maybe();
  if (failed == nullptr) model(inputs[0]->data, inputs[1]->data, outputs[0]->data, inputs[0]->rows);
  session->running--;
  return failed;
}

const void* table[264];

void fillTable() {
  const auto put = [](int index, auto function) { table[index] = reinterpret_cast<const void*>(function); };
  put(2, message), put(7, createSession), put(9, run), put(10, create<Options>), put(13, option), put(17, plain), put(19, plain);
  put(22, option), put(23, option), put(24, option), put(25, option), put(30, two), put(31, one), put(33, inputType);
  put(34, outputType), put(36, inputName), put(37, outputName), put(39, create<RunOptions>), put(49, tensor), put(55, cast);
  put(60, elementType), put(61, rank), put(62, dims), put(63, symbols), put(68, memoryInfo), put(69, cpuMemory);
  put(75, allocate), put(76, giveBack), put(78, forever), put(93, release<Status>), put(94, release<MemoryInfo>);
  put(95, releaseSession), put(96, release<Value>), put(97, release<RunOptions>), put(98, release<TypeInfo>);
  put(100, release<Options>), put(119, environment), put(120, plain), put(121, create<Options>), put(122, release<Options>);
  put(130, entry), put(131, allocatorOf), put(132, release<Allocator>), put(133, runWithBinding), put(134, bindingOf);
  put(135, release<Binding>), put(136, bind), put(137, bind), put(147, option), put(148, option), put(149, option);
  put(165, runEntry), put(204, append), put(205, create<Options>), put(206, update), put(208, release<Options>);
  put(263, updateOne);
}

struct Batch {
  size_t rows = 0;
  uint8_t numbers[kMaxRows * kNumbers] = {};
  uint8_t shift[kMaxRows * kShift] = {};
  void fill() {
    const Guard guard(machine().lock);
    rows = 1 + machine().next() % kMaxRows;
    for (uint8_t& byte : numbers) byte = machine().next();
    for (uint8_t& byte : shift) byte = machine().next();
  }
  bool matches(const uint8_t* moved) const {
    uint8_t wanted[kMaxRows * kNumbers];
    model(numbers, shift, wanted, rows);
    return std::memcmp(moved, wanted, rows * kNumbers) == 0;
  }
};

ort::Options onGpu(int device, size_t limit, bool graphs) {
  ort::Options options;
  ort::Provider cuda;
  cuda.options.emplace_back("device_id", std::to_string(device));
  if (limit > 0) cuda.options.emplace_back("gpu_mem_limit", std::to_string(limit));
  if (graphs) cuda.options.emplace_back("enable_cuda_graph", "1");
  options.providers.push_back(std::move(cuda));
  return options;
}

/** How many slots there must be beside the weights and the largest run. */
int slotsFitting(int wanted, size_t limit) {
  if (limit == 0) return wanted;
  const size_t rest = kWeights + kMaxRows * kWorkOfRow;
  if (limit < rest) return 0;
  return static_cast<int>(std::min<size_t>(static_cast<size_t>(wanted), (limit - rest) / (kRowBytes * kMaxRows)));
}

/** A staged model: loaded, some batches, closed. */
void staged(int device, uint8_t shape, uint8_t room, int batches) {
  stage::CudaPlan plan;
  plan.device = device;
  plan.slots = 1 + shape % 3;
  plan.maxRows = kMaxRows;
  plan.limit = room % 4 == 0 ? 0 : kWeights / 2 + room * 2u;
  plan.inputs = {{"numbers", {kNumbers}}, {"shift", {kShift}}};
  plan.outputs = {{"moved", {kNumbers}}};
  std::vector<size_t> buckets;
  if (shape & 8) buckets = {1, 2, kMaxRows};
  plan.options = onGpu(device, plan.limit, !buckets.empty());
  Bell bell;
  const auto open = [&](int& slots, std::string& problem) -> std::unique_ptr<stage::Device> {
    auto made = stage::CudaDevice::open(*ort::runtime(), fake::cudaApi(), plan, slots, problem);
    require((made == nullptr) == !problem.empty());
    if (made != nullptr) require(made->inputInfos().size() == 2 && made->outputInfos().size() == 1 && made->rowBytes(true)[0] == kNumbers);
    return made;
  };
  stage::Worker worker(open, buckets, kMaxRows, [&] { bell.ring(); });
  bell.wait();
  std::string problem;
  const bool opened = worker.state(problem) == stage::Worker::State::kOpen;
  require(opened == problem.empty() && opened == (worker.slots() > 0));
  if (machine().failEvery == 0) require(worker.slots() == slotsFitting(plan.slots, plan.limit));
  if (!opened) return;
  std::map<int, Batch> held;
  const auto read = [&] {
    for (const auto& [slot, outcome] : worker.answered()) {
      require(outcome.ok || (machine().failEvery != 0 && !outcome.message.empty()));
      if (outcome.ok) require(held[slot].matches(worker.device().output(slot, 0)));
      held.erase(slot);
      worker.release(slot);
    }
  };
  for (int i = 0; i < batches;) {
    const int slot = worker.take();
    if (slot < 0 && held.empty()) {
      require(worker.lost());
      break;
    }
    if (slot < 0) {
      bell.wait();
      read();
      continue;
    }
    Batch& batch = held[slot];
    batch.fill();
    const size_t whole = worker.padded(batch.rows);
    require(stage::fillRows(worker.device().input(slot, 0), {{batch.numbers, batch.rows * kNumbers}}, batch.rows, whole, kNumbers));
    require(stage::fillRows(worker.device().input(slot, 1), {{batch.shift, batch.rows * kShift}}, batch.rows, whole, kShift));
    worker.submit(slot, batch.rows);
    i++;
  }
  worker.close();
}

/** A model without stages: loaded, some runs, closed. */
void unstaged(int device, int runs) {
  std::string problem;
  bool fresh = false;
  const auto session = ort::openSession("unstaged", "path", onGpu(device, 0, false), problem, fresh);
  require((session == nullptr) == !problem.empty());
  if (session == nullptr) return;
  for (int i = 0; i < runs; i++) {
    Batch batch;
    batch.fill();
    const double shapes[2][2] = {{static_cast<double>(batch.rows), kNumbers}, {static_cast<double>(batch.rows), kShift}};
    uint8_t moved[kMaxRows * kNumbers];
    const auto give = [](void* context, size_t, const int64_t*, size_t, size_t) { return static_cast<uint8_t*>(context); };
    const ort::OutputSink sink{moved, give, [](void*) {}};
    problem = session->run({{batch.numbers, batch.rows * kNumbers, shapes[0], 2}, {batch.shift, batch.rows * kShift, shapes[1], 2}},
                           {0}, sink);
    require(problem.empty() ? batch.matches(moved) : machine().failEvery != 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const bool ready = [] {
    fillTable();
    return ort::useTable(table).empty();
  }();
  require(ready);
  if (size < 8) return 0;
  machine().begin(bytes + 8, bytes + size);
  machine().failEvery = bytes[0] % 2 == 0 ? 0 : 5 + bytes[0] / 2u;
  machine().losing = bytes[1] % 2 == 1;
  const int batches = bytes[1] / 2 % 8;
  std::vector<std::thread> beside;
  if (bytes[2] & 1) beside.emplace_back(staged, 1 + (bytes[2] >> 6) % 2, bytes[5], bytes[6], batches);
  if (bytes[2] & 2) beside.emplace_back(unstaged, 2, bytes[7] % 8);
  staged(0, bytes[3], bytes[4], batches);
  for (std::thread& each : beside) each.join();
  // Streams, events and memory of the GPUs are gone, and all objects.
  machine().begin(nullptr, nullptr);
  require(alive == 0);
  return 0;
}
