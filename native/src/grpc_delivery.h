// Tells JavaScript of a server's calls: one callback for each turn of the loop, with everything as words of one array,
// small bytes in a block that both sides see, and a list of the few things that need objects of their own.
#pragma once

#include <node_api.h>

#include "grpc_calls.h"
#include "grpc_message.h"

namespace switchyard::grpc {

// src/server/grpc/native-server.ts reads the words by the same names.
enum Event { kName = 1, kInfer, kMessage, kOpened, kBytes, kEnded, kGone, kSurplus, kFlushed };

constexpr int kWords = 16384;
constexpr size_t kBlockBytes = 64 * 1024;
/** Larger tensors and messages have a buffer of their own. */
constexpr size_t kBlockPiece = 4096;
constexpr int kNames = 512;

class Delivery {
 public:
  Delivery(napi_env env, Calls& calls) : env_(env), calls_(calls) {}

  /** Makes the array of words; `turn` is JavaScript's callback (count, block | undefined, objects | undefined). */
  bool prepare(napi_value turn, napi_value* words);
  void dispose();
  /** Tells all that is queued. */
  void run(uint64_t now);

 private:
  void tell(const Queued& queued, uint64_t now);
  void tellRequest(Call& call, uint64_t now);
  bool tellInfer(Call& call, const InferView& view, uint64_t now);
  void head(Event event, const Call& call);
  void requestHead(Event event, const Call& call, uint64_t now);
  int32_t name(const Piece& text);
  /** Copies bytes where JavaScript finds them and adds the two words that say where, and their length. */
  void place(const uint8_t* bytes, size_t length);
  int32_t object(napi_value value);
  int32_t ownBuffer(const uint8_t* bytes, size_t length);
  /** Sees to it that so many words and bytes of the block are free. */
  void reserve(int words, size_t bytes);
  void deliver();
  void push(int32_t word) { words_[count_++] = word; }

  napi_env const env_;
  Calls& calls_;
  napi_ref turn_ = nullptr;
  napi_ref wordsRef_ = nullptr;
  int32_t* words_ = nullptr;
  int count_ = 0;
  uint8_t* block_ = nullptr;
  size_t blockUsed_ = kBlockBytes;
  napi_ref blockRef_ = nullptr;
  napi_value newBlock_ = nullptr;
  napi_value objects_ = nullptr;
  int32_t objectCount_ = 0;
  std::vector<Queued> telling_;
  std::string names_[kNames];
  InferView view_;
};

}  // namespace switchyard::grpc
