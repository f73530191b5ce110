// Sessions, their options and their runs as JavaScript hands them over and gets them.
#pragma once

#include <node_api.h>

#include <memory>
#include <string>
#include <vector>

#include "ort_options.h"
#include "ort_session.h"

namespace switchyard::ort {

/** What a session is behind its JavaScript object: that thread's share of it, null once given back. */
using Handle = std::shared_ptr<Session>;

/** Throws an Error; the null that a function then returns. */
napi_value fail(napi_env env, const std::string& message);

/**
 * Session options out of JavaScript. numbers: Int32Array of intra threads, inter threads, graph level, log severity,
 * parallel, memory pattern, arena, shared threads; entries: keys and values of the session's configuration by turns;
 * extensions: for each provider its name (cuda, tensorrt), then keys and values of its options by turns; libraries of custom
 * operators as "operators", then their paths. False: they are not that.
 */
bool readOptions(napi_env env, napi_value numbers, napi_value entries, napi_value extensions, Options& options);

bool readText(napi_env env, napi_value value, std::string& text);
bool readTexts(napi_env env, napi_value list, std::vector<std::string>& texts);

/** A session as JavaScript asks for it. */
struct Load {
  std::string key;
  std::string path;
  Options options;
};

/** The five arguments of ortLoad, called by this name. False: they are not that, and an error says so. */
bool readLoad(napi_env env, napi_callback_info info, const char* name, Load& load);

/** What ortLoad answers for an open session; null where memory is out. */
napi_value loadedValue(napi_env env, const Handle& session, bool fresh);

/** The share that a session's JavaScript object holds; null: the value is no session. */
Handle* handleOf(napi_env env, napi_value value);

/** One run as JavaScript asks for it. Plan and inputs are memory of the arguments. */
struct Call {
  Handle session;
  double* plan = nullptr;
  /** Numbers that the plan has room for. */
  size_t room = 0;
  std::vector<size_t> wanted;
  std::vector<Input> inputs;
};

/** The three arguments of ortRun. False: they are not that, and an error says so. */
bool readRun(napi_env env, const napi_value* arguments, Call& call);

/** The inputs or outputs of a model as JavaScript gets them; null where memory is out. */
napi_value describeValues(napi_env env, const std::vector<ValueInfo>& infos);

}  // namespace switchyard::ort
