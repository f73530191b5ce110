// The sessions that all threads of the process share: one for each model, loaded once.
#pragma once

#include <memory>
#include <string>

#include "ort_options.h"
#include "ort_session.h"

namespace switchyard::ort {

/**
 * The session for `key`: the one that another thread has open, or a new one. A second thread that wants a model which a
 * first is loading waits for it. `fresh`: this call has loaded it. Null: `problem` says why.
 */
std::shared_ptr<Session> openSession(const std::string& key, const std::string& path, const Options& options,
                                     std::string& problem, bool& fresh);

/** Keys under which something is kept, for tests: keys without an open session go at the next openSession. */
size_t sessionKeys();

}  // namespace switchyard::ort
