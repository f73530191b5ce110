#include "ort_sessions.h"

#include <iterator>
#include <map>
#include <mutex>

#include "captures.h"

namespace switchyard::ort {

namespace {

/** One model's place: `lock` is held while it is loaded, so that a second thread waits instead of loading it too. */
struct Place {
  std::mutex lock;
  std::weak_ptr<Session> session;
};

struct Places {
  std::mutex lock;
  std::map<std::string, std::shared_ptr<Place>> byKey;
};

/** Never destroyed: worker threads may outlive the statics of this library. */
Places& places() {
  static Places* const it = new Places();
  return *it;
}

}  // namespace

std::shared_ptr<Session> openSession(const std::string& key, const std::string& path, const Options& options,
                                     std::string& problem, bool& fresh) {
  fresh = false;
  const Runtime* const runtime = ort::runtime();
  if (runtime == nullptr) {
    problem = "ONNX Runtime is not open";
    return nullptr;
  }
  std::shared_ptr<Place> place;
  {
    Places& all = places();
    const std::lock_guard<std::mutex> guard(all.lock);
    for (auto it = all.byKey.begin(); it != all.byKey.end();) {
      // Nobody else holds the place, so nobody is about to fill it either; its lock is free, and taking it makes what the
      // last thread wrote there visible here.
      bool idle = it->second.use_count() == 1;
      if (idle) {
        const std::lock_guard<std::mutex> still(it->second->lock);
        idle = it->second->session.expired();
      }
      it = idle ? all.byKey.erase(it) : std::next(it);
    }
    std::shared_ptr<Place>& kept = all.byKey[key];
    if (kept == nullptr) kept = std::make_shared<Place>();
    place = kept;
  }
  const std::lock_guard<std::mutex> guard(place->lock);
  if (std::shared_ptr<Session> open = place->session.lock()) return open;
  const Api& api = runtime->api;
  SessionHandle* handle = nullptr;
  const bool onGpu = !options.providers.empty();
  const auto create = [&](const Options& wanted) {
    const auto beside = besideCaptures(onGpu);
    SessionOptions* made = nullptr;
    std::string failed = makeOptions(api, wanted, nullptr, &made);
    if (failed.empty()) failed = take(api, api.CreateSession(runtime->env, path.c_str(), made, &handle));
    if (made != nullptr) api.ReleaseSessionOptions(made);
    return failed;
  };
  problem = create(options);
  if (options.sharedThreads && problem.find("EnvCreatedWithGlobalThreadPools") != std::string::npos) {
    // Somebody else opened the runtime first, without threads to share: the process has that one environment.
    Options own = options;
    own.sharedThreads = false;
    problem = create(own);
  }
  if (!problem.empty()) return nullptr;
  auto session = std::make_shared<Session>(*runtime, handle, onGpu);
  problem = session->describe();
  if (!problem.empty()) return nullptr;
  place->session = session;
  fresh = true;
  return session;
}

size_t sessionKeys() {
  Places& all = places();
  const std::lock_guard<std::mutex> guard(all.lock);
  return all.byKey.size();
}

}  // namespace switchyard::ort
