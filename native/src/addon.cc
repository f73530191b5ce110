// The binding: hands memory of JavaScript to the codecs. Loaded once per thread; each has its own instance data.
#include <node_api.h>

#include <cstring>
#include <new>
#include <vector>

#include "cores.h"
#include "crc32c.h"
#include "decode.h"
#include "decode_aside.h"
#include "give_way.h"
#include "grpc_addon.h"
#include "http_addon.h"
#include "lend.h"
#include "ort_addon.h"
#include "ort_aside.h"
#include "print.h"
#include "record_json.h"
#include "stage_addon.h"
#include "values.h"

namespace {

using namespace switchyard;

struct Instance {
  /** Words that both sides read and write. JavaScript never gives this memory away. */
  int32_t* meta = nullptr;
  napi_ref metaRef = nullptr;
};

/** The words of this thread. */
int32_t* metaOf(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return static_cast<Instance*>(data)->meta;
}

struct Bytes {
  uint8_t* at = nullptr;
  size_t length = 0;
};

napi_value boolOf(napi_env env, bool value) {
  napi_value result = nullptr;
  napi_get_boolean(env, value, &result);
  return result;
}

bool bytesOf(napi_env env, napi_value value, Bytes& out) {
  napi_typedarray_type type;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &out.length, &data, nullptr, nullptr) != napi_ok) return false;
  out.at = static_cast<uint8_t*>(data);
  return type == napi_uint8_array;
}

/** Buffers made for one call, as an array that JavaScript gets. */
struct OwnBuffers {
  napi_env env;
  napi_value array = nullptr;
  uint32_t count = 0;

  static uint8_t* allocate(void* context, size_t bytes) {
    auto& self = *static_cast<OwnBuffers*>(context);
    if (self.array == nullptr && napi_create_array(self.env, &self.array) != napi_ok) return nullptr;
    void* data = nullptr;
    napi_value buffer;
    if (napi_create_arraybuffer(self.env, bytes, &data, &buffer) != napi_ok) return nullptr;
    if (napi_set_element(self.env, self.array, self.count++, buffer) != napi_ok) return nullptr;
    return static_cast<uint8_t*>(data);
  }
};

/**
 * decode(body: Uint8Array, slab: Uint8Array, expected?: Uint8Array): ArrayBuffer[] | undefined. Reads and writes `meta`, see
 * decode.h; the result holds the buffers of tensors that do not fit the slab.
 */
napi_value decode(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  Bytes body;
  Bytes slab;
  Bytes expected;
  if (count < 2 || !bytesOf(env, arguments[0], body) || !bytesOf(env, arguments[1], slab) ||
      (count > 2 && !bytesOf(env, arguments[2], expected))) {
    napi_throw_type_error(env, nullptr, "decode takes Uint8Arrays");
    return nullptr;
  }
  OwnBuffers buffers{env};
  decodeBody({body.at, body.length}, {expected.at, expected.length}, {slab.at, slab.length}, metaOf(env),
             {&buffers, OwnBuffers::allocate});
  return buffers.array;
}

// Words of `meta` for print, recordLines and sealRecords.
enum PrintWord { kPosition, kType, kFirst, kNext, kEnd, kOffset, kLimit };

/**
 * print(out: Uint8Array, head: Uint8Array, data: Uint8Array): copies the head to out[position…], then prints elements
 * [next, end) behind it, with a comma before each but element `first`. The elements lie in data[offset…limit). Moves `position` and `next` as far as there was
 * room; before the first element nothing is printed unless the head found room too.
 */
napi_value print(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  int32_t* const meta = metaOf(env);
  Bytes out;
  Bytes head;
  Bytes data;
  if (count < 3 || !bytesOf(env, arguments[0], out) || !bytesOf(env, arguments[1], head) ||
      !bytesOf(env, arguments[2], data)) {
    napi_throw_type_error(env, nullptr, "print takes three Uint8Arrays");
    return nullptr;
  }
  const int type = meta[kType];
  const int size = type >= 0 && type < kTypes ? kElementBytes[type] : 0;
  const int64_t offset = meta[kOffset];
  const int64_t limit = meta[kLimit];
  if (offset < 0 || limit < offset || limit > static_cast<int64_t>(data.length)) return nullptr;
  const int64_t available = size == 0 ? 0 : (limit - offset) / size;
  const int64_t room = static_cast<int64_t>(out.length) - meta[kPosition] - static_cast<int64_t>(head.length);
  if (meta[kPosition] < 0 || room < 0 || meta[kNext] < 0 || meta[kEnd] > available) return nullptr;
  uint8_t* at = out.at + meta[kPosition];
  if (head.length > 0) std::memcpy(at, head.at, head.length);
  const Printed printed = printElements(static_cast<Type>(type), data.at + offset, meta[kFirst], meta[kNext], meta[kEnd],
                                        at + head.length, out.at + out.length);
  meta[kPosition] = static_cast<int32_t>(printed.end - out.at);
  meta[kNext] = static_cast<int32_t>(printed.next);
  return nullptr;
}

/**
 * recordLines(out: Uint8Array, records: Uint8Array, places: Int32Array): prints records of the event log as lines to
 * out[position…], from the one numbered `next` up to `end`. Record n is records[places[2n]…places[2n + 1]). Moves
 * `position` and `next`; stops before a record that is left to the twin, or for which there may be too little room.
 */
napi_value recordLines(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  int32_t* const meta = metaOf(env);
  Bytes out;
  Bytes records;
  napi_typedarray_type type;
  size_t words = 0;
  void* data = nullptr;
  if (count < 3 || !bytesOf(env, arguments[0], out) || !bytesOf(env, arguments[1], records) ||
      napi_get_typedarray_info(env, arguments[2], &type, &words, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array) {
    napi_throw_type_error(env, nullptr, "recordLines takes two Uint8Arrays and an Int32Array");
    return nullptr;
  }
  const int32_t* const places = static_cast<const int32_t*>(data);
  if (meta[kPosition] < 0 || meta[kPosition] > static_cast<int64_t>(out.length) || meta[kNext] < 0 ||
      meta[kEnd] > static_cast<int64_t>(words / 2))
    return nullptr;
  uint8_t* at = out.at + meta[kPosition];
  RecordPrinter printer;
  for (; meta[kNext] < meta[kEnd]; meta[kNext]++) {
    const int64_t from = places[2 * meta[kNext]];
    const int64_t to = places[2 * meta[kNext] + 1];
    if (from < 0 || to < from || to > static_cast<int64_t>(records.length)) break;
    if (recordLineRoom(to - from) > out.at + out.length - at) break;
    uint8_t* const end = printer.print(records.at + from, records.at + to, at);
    if (end == nullptr) break;
    at = end;
  }
  meta[kPosition] = static_cast<int32_t>(at - out.at);
  return nullptr;
}

// Before each record of the event log's spool, as src/eventlog/spool/format.ts has it.
constexpr int64_t kRecordHeader = 12;
constexpr uint32_t kRecordMark = 0x31525953;

/**
 * sealRecords(records: Uint8Array, ends: Int32Array): boolean: completes `end` records of the event log, of which the first
 * one begins at `position` and each ends at ends[n], where the next one begins. False: they do not lie so. Exported where
 * crc32c is.
 */
napi_value sealRecords(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  const int32_t* const meta = metaOf(env);
  Bytes records;
  napi_typedarray_type type;
  size_t words = 0;
  void* data = nullptr;
  if (count < 2 || !bytesOf(env, arguments[0], records) ||
      napi_get_typedarray_info(env, arguments[1], &type, &words, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array) {
    napi_throw_type_error(env, nullptr, "sealRecords takes a Uint8Array and an Int32Array");
    return nullptr;
  }
  const int32_t* const ends = static_cast<const int32_t*>(data);
  int64_t start = meta[kPosition];
  bool good = start >= 0 && meta[kEnd] <= static_cast<int64_t>(words);
  for (int32_t i = 0; good && i < meta[kEnd]; i++) {
    good = ends[i] <= static_cast<int64_t>(records.length) && ends[i] - start > kRecordHeader;
    if (!good) break;
    const uint8_t* const body = records.at + start + kRecordHeader;
    const uint32_t head[3] = {kRecordMark, static_cast<uint32_t>(ends[i] - start - kRecordHeader),
                              crc32c(body, ends[i] - start - kRecordHeader)};
    static_assert(sizeof(head) == kRecordHeader);
    std::memcpy(records.at + start, head, sizeof(head));
    start = ends[i];
  }
  return boolOf(env, good);
}

/** crc32c(bytes: Uint8Array, start: number, end: number): number. Exported where the processor has instructions for it. */
napi_value checksum(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  Bytes bytes;
  uint32_t start = 0;
  uint32_t end = 0;
  if (count < 3 || !bytesOf(env, arguments[0], bytes) || napi_get_value_uint32(env, arguments[1], &start) != napi_ok ||
      napi_get_value_uint32(env, arguments[2], &end) != napi_ok || start > end || end > bytes.length) {
    napi_throw_type_error(env, nullptr, "crc32c takes a Uint8Array and a range of its bytes");
    return nullptr;
  }
  napi_value sum = nullptr;
  napi_create_uint32(env, crc32c(bytes.at + start, end - start), &sum);
  return sum;
}

/** giveWay(by: number): the calling thread gives way to those that answer; see give_way.h. */
napi_value giveWayTo(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  int32_t by = 0;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  if (count < 1 || napi_get_value_int32(env, argument, &by) != napi_ok || by < 0) {
    napi_throw_type_error(env, nullptr, "giveWay takes a number that is not negative");
    return nullptr;
  }
  giveWay(by);
  return nullptr;
}

bool coresOf(napi_env env, napi_value value, std::vector<int>& out) {
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok || type != napi_int32_array)
    return false;
  out.assign(static_cast<const int32_t*>(data), static_cast<const int32_t*>(data) + length);
  return true;
}

/** usableCores(): number[]; see cores.h, as for the two below. */
napi_value listCores(napi_env env, napi_callback_info) {
  napi_value list = nullptr;
  napi_create_array(env, &list);
  uint32_t count = 0;
  for (const int core : usableCores()) napi_set_element(env, list, count++, numberOf(env, core));
  return list;
}

/** useCores(thread: number, cores: Int32Array): boolean. */
napi_value bindToCores(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  int32_t thread = 0;
  std::vector<int> cores;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (count < 2 || napi_get_value_int32(env, arguments[0], &thread) != napi_ok || !coresOf(env, arguments[1], cores)) {
    napi_throw_type_error(env, nullptr, "useCores takes a number and an Int32Array");
    return nullptr;
  }
  return boolOf(env, useCores(thread, cores));
}

/** giveChildrenCores(cores: Int32Array): boolean. */
napi_value giveCoresToChildren(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  std::vector<int> cores;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  if (count < 1 || !coresOf(env, argument, cores)) {
    napi_throw_type_error(env, nullptr, "giveChildrenCores takes an Int32Array");
    return nullptr;
  }
  return boolOf(env, giveChildrenCores(cores));
}

bool exportMeta(napi_env env, napi_value exports, Instance& instance) {
  napi_value buffer;
  napi_value view;
  void* data = nullptr;
  if (napi_create_arraybuffer(env, kMetaWords * sizeof(int32_t), &data, &buffer) != napi_ok) return false;
  instance.meta = static_cast<int32_t*>(data);
  return napi_create_reference(env, buffer, 1, &instance.metaRef) == napi_ok &&
         napi_create_typedarray(env, napi_int32_array, kMetaWords, buffer, 0, &view) == napi_ok &&
         napi_set_named_property(env, exports, "meta", view) == napi_ok;
}

/** Of what is exported: src/tensor/native.ts names the one that it was written for. Raise both with every change. */
constexpr int32_t kInterface = 17;

bool exportInterface(napi_env env, napi_value exports) {
  napi_value number;
  return napi_create_int32(env, kInterface, &number) == napi_ok &&
         napi_set_named_property(env, exports, "interface", number) == napi_ok;
}

}  // namespace

NAPI_MODULE_INIT() {
  auto* instance = new (std::nothrow) Instance();
  if (instance == nullptr) return nullptr;
  const auto release = [](napi_env, void* data, void*) { delete static_cast<Instance*>(data); };
  if (napi_set_instance_data(env, instance, release, nullptr) != napi_ok) {
    delete instance;
    return nullptr;
  }
  const bool complete = exportInterface(env, exports) && exportMeta(env, exports, *instance) &&
                        exportFunction(env, exports, "decode", decode) && exportDecodeAside(env, exports) && exportLend(env, exports) &&
                        exportFunction(env, exports, "print", print) &&
                        exportFunction(env, exports, "recordLines", recordLines) &&
                        (!hasCrc32c() || (exportFunction(env, exports, "crc32c", checksum) &&
                                          exportFunction(env, exports, "sealRecords", sealRecords))) &&
                        exportFunctions(env, exports,
                                        {{"giveWay", giveWayTo},
                                         {"usableCores", listCores},
                                         {"useCores", bindToCores},
                                         {"giveChildrenCores", giveCoresToChildren}}) &&
                        grpc::exportServer(env, exports) && http::exportServer(env, exports) &&
                        ort::exportSessions(env, exports) && ort::exportAside(env, exports) &&
                        stage::exportStager(env, exports);
  return complete ? exports : nullptr;
}
