#include "decode_aside.h"

#include <pthread.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>

#include "decode.h"
#include "values.h"

namespace switchyard {
namespace {

/** What JavaScript hands over: `job` keeps the memory of the others alive. */
struct Given {
  napi_ref job;
  napi_ref done;
  Body body;
  Body expected;
  Slab slab;
  int32_t* words;
};

/**
 * The decoder beside one thread of JavaScript: a thread, started for the first body, and one body at a time. All but `work`
 * runs on JavaScript's thread. The two take turns with the body: what one has written the other reads in its own turn.
 */
class Aside {
 public:
  explicit Aside(napi_env env) : env_(env) {}

  bool busy() const { return decode_ != nullptr; }

  /** False where there is no thread or memory to be had; `given` stays the caller's then. */
  bool start(const Given& given) {
    if (!started_ && !begin()) return false;
    decode_.reset(new (std::nothrow) SteppedDecode(given.body, given.expected, given.slab, given.words));
    if (decode_ == nullptr) return false;
    given_ = given;
    buffer_ = nullptr;
    napi_ref_threadsafe_function(env_, told_);
    goOn();
    return true;
  }

  static void destroy(void* self) { delete static_cast<Aside*>(self); }

 private:
  bool begin() {
    napi_value name;
    if (napi_create_string_utf8(env_, "switchyard.decode", NAPI_AUTO_LENGTH, &name) != napi_ok ||
        napi_create_threadsafe_function(env_, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, tell, &told_) !=
            napi_ok)
      return false;
    napi_unref_threadsafe_function(env_, told_);
    started_ = pthread_create(&thread_, nullptr, work, this) == 0;
    // Hooks run from the last one on: this one before that of the function, which the thread calls.
    if (started_) napi_add_env_cleanup_hook(env_, end, this);
    else napi_release_threadsafe_function(told_, napi_tsfn_abort);
    return started_;
  }

  /** JavaScript's thread ends: it waits for the decoder, which reads its memory. Nobody hears of the body any more. */
  static void end(void* self) {
    auto* const it = static_cast<Aside*>(self);
    {
      const std::lock_guard<std::mutex> lock(it->mutex_);
      it->ended_ = true;
    }
    it->wake_.notify_one();
    pthread_join(it->thread_, nullptr);
    napi_release_threadsafe_function(it->told_, napi_tsfn_abort);
  }

  void goOn() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      itsTurn_ = true;
    }
    wake_.notify_one();
  }

  static void* work(void* self) {
    auto* const it = static_cast<Aside*>(self);
    for (;;) {
      {
        std::unique_lock<std::mutex> lock(it->mutex_);
        it->wake_.wait(lock, [it] { return it->itsTurn_ || it->ended_; });
        if (it->ended_) return nullptr;
        it->itsTurn_ = false;
      }
      it->step_ = it->decode_->run(it->buffer_);
      napi_call_threadsafe_function(it->told_, nullptr, napi_tsfn_nonblocking);
    }
  }

  static void tell(napi_env env, napi_value, void* self, void*) {
    if (env == nullptr) return;
    auto* const it = static_cast<Aside*>(self);
    if (it->step_ != SteppedDecode::Step::kWantsBuffer) {
      it->finish();
      return;
    }
    it->buffer_ = it->makeBuffer();
    it->goOn();
  }

  /** The buffer that is wanted, behind the others in the job's `buffers`. */
  uint8_t* makeBuffer() {
    napi_value job;
    napi_value buffers;
    napi_value buffer;
    uint32_t count = 0;
    void* data = nullptr;
    if (napi_get_reference_value(env_, given_.job, &job) != napi_ok ||
        napi_get_named_property(env_, job, "buffers", &buffers) != napi_ok ||
        napi_get_array_length(env_, buffers, &count) != napi_ok ||
        napi_create_arraybuffer(env_, decode_->wanted(), &data, &buffer) != napi_ok ||
        napi_set_element(env_, buffers, count, buffer) != napi_ok)
      return nullptr;
    return static_cast<uint8_t*>(data);
  }

  /** Tells of the end. JavaScript may start with another body from within. */
  void finish() {
    const Given given = given_;
    decode_.reset();
    napi_unref_threadsafe_function(env_, told_);
    napi_delete_reference(env_, given.job);
    callBack(env_, given.done, 0, nullptr);
    napi_delete_reference(env_, given.done);
  }

  const napi_env env_;
  Given given_{};
  std::unique_ptr<SteppedDecode> decode_;
  SteppedDecode::Step step_{};
  uint8_t* buffer_ = nullptr;

  bool started_ = false;
  pthread_t thread_{};
  napi_threadsafe_function told_ = nullptr;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool itsTurn_ = false;
  bool ended_ = false;
};

/** A typed array of the job; false where it is none of this type. */
bool arrayIn(napi_env env, napi_value job, const char* name, napi_typedarray_type wanted, void*& data, size_t& length) {
  napi_value value;
  napi_typedarray_type type;
  return napi_get_named_property(env, job, name, &value) == napi_ok &&
         napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) == napi_ok && type == wanted;
}

/**
 * decodeAside(job): boolean. Decodes `job.body` as `decode` does, on a thread of its own, with `job.expected`, and `job.slab` and
 * `job.words` for the slab and `meta`; buffers are added to `job.buffers`. Calls `job.done` in a later turn of the loop. Until then nobody may
 * change any of them, or start with another body. False: there is no thread to be had, and `done` is not called.
 */
napi_value decodeAside(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value job;
  void* aside = nullptr;
  napi_get_cb_info(env, info, &count, &job, nullptr, &aside);
  auto& it = *static_cast<Aside*>(aside);
  void* body = nullptr;
  void* expected = nullptr;
  void* slab = nullptr;
  void* words = nullptr;
  size_t wordCount = 0;
  napi_value done;
  napi_value buffers;
  napi_valuetype type = napi_undefined;
  bool listed = false;
  Given given{};
  if (count < 1 || !arrayIn(env, job, "body", napi_uint8_array, body, given.body.length) ||
      !arrayIn(env, job, "expected", napi_uint8_array, expected, given.expected.length) ||
      !arrayIn(env, job, "slab", napi_uint8_array, slab, given.slab.length) ||
      !arrayIn(env, job, "words", napi_int32_array, words, wordCount) || wordCount < kMetaWords ||
      napi_get_named_property(env, job, "buffers", &buffers) != napi_ok ||
      napi_is_array(env, buffers, &listed) != napi_ok || !listed ||
      napi_get_named_property(env, job, "done", &done) != napi_ok || napi_typeof(env, done, &type) != napi_ok ||
      type != napi_function || it.busy()) {
    napi_throw_type_error(env, nullptr, "decodeAside takes a job, and one at a time");
    return nullptr;
  }
  given.body.bytes = static_cast<uint8_t*>(body);
  given.expected.bytes = static_cast<uint8_t*>(expected);
  given.slab.bytes = static_cast<uint8_t*>(slab);
  given.words = static_cast<int32_t*>(words);
  bool begun = napi_create_reference(env, job, 1, &given.job) == napi_ok;
  if (begun && napi_create_reference(env, done, 1, &given.done) != napi_ok) {
    napi_delete_reference(env, given.job);
    begun = false;
  }
  if (begun && !it.start(given)) {
    napi_delete_reference(env, given.job);
    napi_delete_reference(env, given.done);
    begun = false;
  }
  napi_value result = nullptr;
  napi_get_boolean(env, begun, &result);
  return result;
}

}  // namespace

bool exportDecodeAside(napi_env env, napi_value exports) {
  auto* const aside = new (std::nothrow) Aside(env);
  napi_value function;
  if (aside == nullptr) return false;
  napi_add_env_cleanup_hook(env, Aside::destroy, aside);
  return napi_create_function(env, "decodeAside", NAPI_AUTO_LENGTH, decodeAside, aside, &function) == napi_ok &&
         napi_set_named_property(env, exports, "decodeAside", function) == napi_ok;
}

}  // namespace switchyard
