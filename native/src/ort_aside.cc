#include "ort_aside.h"

#include <functional>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "give_way.h"
#include "ort_sessions.h"
#include "ort_values.h"
#include "values.h"

namespace switchyard::ort {

namespace {

/** As NICER_BY of src/models/preflight/launcher.ts. */
constexpr int kNicerBy = 10;

/**
 * Work on a thread of its own, and the promise that hears how it ended. Made and ended on JavaScript's thread; what the work
 * writes is read after the thread was joined.
 */
class Errand {
 public:
  using Work = std::function<void(Errand&)>;

  std::string problem;
  Handle session;
  bool fresh = false;

  /** `kept`: values whose memory the work reads. Returns the promise, null with an error thrown. */
  static napi_value start(napi_env env, const std::vector<napi_value>& kept, Work work) {
    auto errand = std::unique_ptr<Errand>(new (std::nothrow) Errand());
    napi_value name;
    napi_value promise;
    if (errand == nullptr || napi_create_string_utf8(env, "switchyard.aside", NAPI_AUTO_LENGTH, &name) != napi_ok ||
        napi_create_promise(env, &errand->deferred_, &promise) != napi_ok ||
        napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr, settle,
                                        &errand->ended_) != napi_ok) {
      return fail(env, "there is no memory for a thread");
    }
    Errand* const it = errand.release();
    it->env_ = env;
    for (const napi_value value : kept) {
      napi_ref reference;
      if (napi_create_reference(env, value, 1, &reference) == napi_ok) it->kept_.push_back(reference);
    }
    napi_add_env_cleanup_hook(env, joinAtEnd, it);
    it->thread_ = std::thread([it, work = std::move(work)] {
      work(*it);
      napi_call_threadsafe_function(it->ended_, it, napi_tsfn_nonblocking);
    });
    return promise;
  }

 private:
  /** A thread of JavaScript that ends waits for the work, which reads its memory; nobody hears of it any more. */
  static void joinAtEnd(void* self) {
    auto* const it = static_cast<Errand*>(self);
    it->thread_.join();
    napi_release_threadsafe_function(it->ended_, napi_tsfn_abort);
    delete it;
  }

  static void settle(napi_env env, napi_value, void*, void* self) {
    // The environment has ended, and joinAtEnd with it.
    if (env == nullptr) return;
    auto* const it = static_cast<Errand*>(self);
    it->thread_.join();
    napi_remove_env_cleanup_hook(env, joinAtEnd, it);
    napi_release_threadsafe_function(it->ended_, napi_tsfn_release);
    for (const napi_ref reference : it->kept_) napi_delete_reference(env, reference);
    it->tell();
    delete it;
  }

  void tell() {
    napi_value value = nullptr;
    if (problem.empty()) {
      if (session == nullptr) napi_get_undefined(env_, &value);
      else value = loadedValue(env_, session, fresh);
      if (value == nullptr) problem = "there is no memory for a session";
    }
    if (problem.empty()) {
      napi_resolve_deferred(env_, deferred_, value);
      return;
    }
    napi_create_error(env_, nullptr, utf8Of(env_, problem), &value);
    napi_reject_deferred(env_, deferred_, value);
  }

  napi_env env_ = nullptr;
  napi_deferred deferred_ = nullptr;
  napi_threadsafe_function ended_ = nullptr;
  std::vector<napi_ref> kept_;
  std::thread thread_;
};

/** Takes outputs that nobody wants: memory that ONNX Runtime may write to, until the run is over. */
struct Discarded {
  std::vector<std::unique_ptr<uint8_t[]>> buffers;

  static uint8_t* allocate(void* context, size_t, const int64_t*, size_t, size_t bytes) {
    auto& self = *static_cast<Discarded*>(context);
    self.buffers.emplace_back(new (std::nothrow) uint8_t[bytes == 0 ? 1 : bytes]);
    return self.buffers.back().get();
  }

  static void restart(void* context) { static_cast<Discarded*>(context)->buffers.clear(); }
};

/**
 * ortLoadAside(key, path, numbers, entries, extensions): Promise of what ortLoad answers for the same arguments. The thread
 * that loads gives way to those that serve, unless the session makes threads of its own, which would give way ever after.
 */
napi_value loadAside(napi_env env, napi_callback_info info) {
  Load wanted;
  if (!readLoad(env, info, "ortLoadAside", wanted)) return nullptr;
  return Errand::start(env, {}, [wanted = std::move(wanted)](Errand& errand) {
    if (wanted.options.sharedThreads) giveWay(kNicerBy);
    errand.session = openSession(wanted.key, wanted.path, wanted.options, errand.problem, errand.fresh);
  });
}

/**
 * ortRehearse(session, plan, inputs): Promise<void>. Runs once, as ortRun for the same arguments, on a thread that gives way
 * to those that serve; what comes out is dropped. Neither array may be changed before it ends.
 */
napi_value rehearse(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  Call call;
  if (count < 3 || !readRun(env, arguments, call)) return nullptr;
  return Errand::start(env, {arguments[1], arguments[2]}, [call = std::move(call)](Errand& errand) {
    giveWay(kNicerBy);
    Discarded outputs;
    errand.problem = call.session->run(call.inputs, call.wanted, {&outputs, Discarded::allocate, Discarded::restart});
  });
}

}  // namespace

bool exportAside(napi_env env, napi_value exports) {
  return exportFunction(env, exports, "ortLoadAside", loadAside) && exportFunction(env, exports, "ortRehearse", rehearse);
}

}  // namespace switchyard::ort
