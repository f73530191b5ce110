#pragma once

#include <node_api.h>

#include <string>
#include <vector>

#include "ort_session.h"

namespace switchyard::ort {

/** Adds the functions of shared ONNX Runtime sessions to the addon's exports; false where memory is out. */
bool exportSessions(napi_env env, napi_value exports);

/**
 * Session options out of JavaScript. numbers: Int32Array of intra threads, inter threads, graph level, log severity,
 * parallel, memory pattern, arena, shared threads; entries: keys and values of the session's configuration by turns;
 * providers: for each its name (cuda, tensorrt), then keys and values of its options by turns. False: they are not that.
 */
bool readOptions(napi_env env, napi_value numbers, napi_value entries, napi_value providers, Options& options);

bool readText(napi_env env, napi_value value, std::string& text);
bool readTexts(napi_env env, napi_value list, std::vector<std::string>& texts);

/** The inputs or outputs of a model as JavaScript gets them; null where memory is out. */
napi_value describeValues(napi_env env, const std::vector<ValueInfo>& infos);

}  // namespace switchyard::ort
