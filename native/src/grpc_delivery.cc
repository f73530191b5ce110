#include "grpc_delivery.h"

#include <cstring>

#include "values.h"

namespace switchyard::grpc {
namespace {

constexpr size_t kPrefix = 5;
/** Words of a request's head, and at most of each of its tensors. */
constexpr int kHeadWords = 16;
constexpr int kTensorWords = 8 + kMaxRank;
constexpr int kNameWords = 4;
constexpr int kMostWords = kHeadWords + kMaxTensors * (kTensorWords + 1 + 2 * kNameWords) + 2 * kNameWords;
static_assert(kMostWords < kWords, "the largest request fits the words");

size_t aligned(size_t offset) { return (offset + 7) & ~size_t{7}; }

}  // namespace

bool Delivery::prepare(napi_value turn, napi_value* words) {
  napi_value buffer;
  void* data = nullptr;
  if (napi_create_reference(env_, turn, 1, &turn_) != napi_ok) return false;
  if (napi_create_arraybuffer(env_, kWords * sizeof(int32_t), &data, &buffer) != napi_ok) return false;
  words_ = static_cast<int32_t*>(data);
  return napi_create_reference(env_, buffer, 1, &wordsRef_) == napi_ok &&
         napi_create_typedarray(env_, napi_int32_array, kWords, buffer, 0, words) == napi_ok;
}

void Delivery::dispose() {
  for (napi_ref* ref : {&turn_, &wordsRef_, &blockRef_}) {
    if (*ref != nullptr) napi_delete_reference(env_, *ref);
    *ref = nullptr;
  }
}

void Delivery::run(uint64_t now) {
  telling_.swap(calls_.queued);
  napi_handle_scope scope;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  for (const Queued& queued : telling_) tell(queued, now);
  deliver();
  napi_close_handle_scope(env_, scope);
  telling_.clear();
}

void Delivery::tell(const Queued& queued, uint64_t now) {
  if (queued.notice == Notice::kClosed) {
    reserve(kHeadWords, 0);
    push(kGone);
    push(static_cast<int32_t>(queued.slot));
    push(static_cast<int32_t>(queued.generation));
    return;
  }
  Call* call = calls_.find(queued.slot, queued.generation);
  // What has been answered since hears of nothing but its own writing.
  if (call == nullptr || (call->stage == Stage::kAnswered && queued.notice != Notice::kDrained)) return;
  if (queued.notice == Notice::kReady) {
    tellRequest(*call, now);
    return;
  }
  reserve(kHeadWords, 0);
  switch (queued.notice) {
    case Notice::kOpen: {
      napi_value text;
      if (napi_create_string_latin1(env_, call->headers.data(), call->headers.size(), &text) != napi_ok) return;
      head(kOpened, *call);
      push(static_cast<int32_t>(now - call->openedAt));
      push(object(text));
      return;
    }
    case Notice::kData: {
      call->dataQueued = false;
      const int32_t index = ownBuffer(reinterpret_cast<const uint8_t*>(call->body.data()), call->body.size());
      head(kBytes, *call);
      push(index);
      call->body.clear();
      return;
    }
    case Notice::kEnd:
      head(kEnded, *call);
      return;
    case Notice::kExtra:
      head(kSurplus, *call);
      return;
    default:
      head(kFlushed, *call);
      return;
  }
}

void Delivery::tellRequest(Call& call, uint64_t now) {
  const auto* message = reinterpret_cast<const uint8_t*>(call.body.data()) + kPrefix;
  const size_t length = call.body.size() - kPrefix;
  const bool infer = call.method.kind == MethodKind::kInfer && decodeInferMessage(message, length, view_);
  if (!infer || !tellInfer(call, view_, now)) {
    reserve(kHeadWords, length <= kBlockPiece ? length : 0);
    requestHead(kMessage, call, now);
    place(message, length);
  }
  call.body.clear();
}

bool Delivery::tellInfer(Call& call, const InferView& view, uint64_t now) {
  // Names that were not met before lie in the block too.
  size_t bytes = static_cast<size_t>(2 + view.inputCount + view.outputCount) * (kMaxName + 8);
  if (view.id.length > kBlockPiece) return false;
  bytes += aligned(view.id.length);
  for (int i = 0; i < view.inputCount; i++) {
    if (view.inputs[i].data.length <= kBlockPiece) bytes += aligned(view.inputs[i].data.length);
  }
  if (bytes > kBlockBytes) return false;
  reserve(kMostWords, bytes);
  int32_t inputs[kMaxTensors];
  int32_t outputs[kMaxTensors];
  // A name may push out another one of the same request: then the request is told in the plain way.
  const int32_t model = name(view.model);
  const int32_t version = name(view.version);
  for (int i = 0; i < view.inputCount; i++) inputs[i] = name(view.inputs[i].name);
  for (int i = 0; i < view.outputCount; i++) outputs[i] = name(view.outputs[i]);
  const auto holds = [this](int32_t index, const Piece& text) {
    // An empty one may be nowhere.
    if (names_[index].size() != text.length) return false;
    return text.length == 0 || std::memcmp(names_[index].data(), text.at, text.length) == 0;
  };
  if (!holds(model, view.model) || !holds(version, view.version)) return false;
  for (int i = 0; i < view.inputCount; i++) {
    if (!holds(inputs[i], view.inputs[i].name)) return false;
  }
  for (int i = 0; i < view.outputCount; i++) {
    if (!holds(outputs[i], view.outputs[i])) return false;
  }
  requestHead(kInfer, call, now);
  push(model);
  push(version);
  place(view.id.at, view.id.length);
  push(view.inputCount);
  push(view.outputCount);
  for (int i = 0; i < view.inputCount; i++) {
    const InputView& input = view.inputs[i];
    push(inputs[i]);
    push(input.type);
    place(input.data.at, input.data.length);
    push(input.rank);
    for (int d = 0; d < input.rank; d++) push(input.dims[d]);
  }
  for (int i = 0; i < view.outputCount; i++) push(outputs[i]);
  return true;
}

void Delivery::head(Event event, const Call& call) {
  push(event);
  push(static_cast<int32_t>(call.slot));
  push(static_cast<int32_t>(call.generation));
}

void Delivery::requestHead(Event event, const Call& call, uint64_t now) {
  head(event, call);
  push(call.method.id);
  push(call.traced ? 1 : 0);
  push(call.timeoutDigits);
  push(call.timeoutUnit);
  push(static_cast<int32_t>(now - call.openedAt));
}

/** The number under which JavaScript knows a name. Bounded: one name per number, a newcomer takes it over. */
int32_t Delivery::name(const Piece& text) {
  uint32_t hash = text.length;
  for (uint32_t i = 0; i < text.length; i++) hash = hash * 31 + text.at[i];
  const auto index = static_cast<int32_t>((hash ^ (hash >> 15)) & (kNames - 1));
  std::string& known = names_[index];
  if (known.size() == text.length && (text.length == 0 || std::memcmp(known.data(), text.at, text.length) == 0)) {
    return index;
  }
  known.assign(reinterpret_cast<const char*>(text.at), text.length);
  push(kName);
  push(index);
  place(text.at, text.length);
  return index;
}

void Delivery::place(const uint8_t* bytes, size_t length) {
  if (length == 0) {
    // There may be no block yet.
    push(-1);
    push(0);
  } else if (length > kBlockPiece) {
    push(ownBuffer(bytes, length));
    push(0);
  } else {
    push(-1);
    push(static_cast<int32_t>(blockUsed_));
    std::memcpy(block_ + blockUsed_, bytes, length);
    blockUsed_ = aligned(blockUsed_ + length);
  }
  push(static_cast<int32_t>(length));
}

int32_t Delivery::object(napi_value value) {
  if (objects_ == nullptr) napi_create_array(env_, &objects_);
  napi_set_element(env_, objects_, static_cast<uint32_t>(objectCount_), value);
  return objectCount_++;
}

int32_t Delivery::ownBuffer(const uint8_t* bytes, size_t length) {
  napi_value buffer;
  void* data = nullptr;
  if (napi_create_arraybuffer(env_, length, &data, &buffer) != napi_ok) return -1;
  if (length > 0) std::memcpy(data, bytes, length);
  return object(buffer);
}

void Delivery::reserve(int words, size_t bytes) {
  if (count_ + words > kWords) deliver();
  if (blockUsed_ + bytes <= kBlockBytes) return;
  // Words that are told already speak of the block before.
  if (count_ > 0) deliver();
  void* data = nullptr;
  if (blockRef_ != nullptr) napi_delete_reference(env_, blockRef_);
  blockRef_ = nullptr;
  if (napi_create_arraybuffer(env_, kBlockBytes, &data, &newBlock_) != napi_ok) return;
  napi_create_reference(env_, newBlock_, 1, &blockRef_);
  block_ = static_cast<uint8_t*>(data);
  blockUsed_ = 0;
}

void Delivery::deliver() {
  if (count_ == 0 && newBlock_ == nullptr) return;
  napi_value arguments[3];
  napi_create_int32(env_, count_, &arguments[0]);
  napi_get_undefined(env_, &arguments[1]);
  arguments[2] = arguments[1];
  if (newBlock_ != nullptr) arguments[1] = newBlock_;
  if (objects_ != nullptr) arguments[2] = objects_;
  count_ = 0;
  newBlock_ = objects_ = nullptr;
  objectCount_ = 0;
  callBack(env_, turn_, 3, arguments);
}

}  // namespace switchyard::grpc
