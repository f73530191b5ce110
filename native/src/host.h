// What the servers of the addon take from the process it is loaded into: node carries nghttp2 and libuv and exports both with
// their stable C interfaces. The entries used are declared here and looked up once; nothing is linked.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace switchyard::net {

// ---- nghttp2 ----

struct Http2Session;
struct Http2Callbacks;
struct Http2Option;

struct FrameHead {
  size_t length;
  int32_t stream;
  uint8_t type;
  uint8_t flags;
  uint8_t reserved;
};

struct NameValue {
  const uint8_t* name;
  const uint8_t* value;
  size_t nameLength;
  size_t valueLength;
  uint8_t flags;
};

/** Every frame begins with its head; of HEADERS the category is read too. */
struct Frame {
  FrameHead head;
  size_t padding;
  struct {
    int32_t stream;
    int32_t weight;
    uint8_t exclusive;
  } priority;
  NameValue* headers;
  size_t headerCount;
  int category;
};

struct SettingsEntry {
  int32_t id;
  uint32_t value;
};

union DataSource {
  int fd;
  void* pointer;
};

using ReadData = ssize_t (*)(Http2Session*, int32_t stream, uint8_t* out, size_t room, uint32_t* flags, DataSource*,
                             void* user);

struct DataProvider {
  DataSource source;
  ReadData read;
};

enum FrameType { kDataFrame = 0, kHeadersFrame = 1, kSettingsFrame = 4, kPingFrame = 6 };
enum FrameFlag { kEndStream = 1, kAck = 1 };
enum Category { kRequestHeaders = 0 };
enum DataFlag { kEof = 1, kNoEndStream = 2 };
enum ValueFlag { kPlainHeader = 0, kNeverIndexed = 1, kNoCopyName = 2, kNoCopyValue = 4 };
enum Setting { kMaxConcurrentStreams = 3, kInitialWindowSize = 4, kMaxFrameSize = 5, kMaxHeaderListSize = 6, kEnablePush = 2 };
enum Http2Code { kNoError = 0, kProtocolError = 1, kInternalError = 2, kRefusedStream = 7, kCancel = 8, kEnhanceYourCalm = 11 };
enum Http2Failure { kDeferred = -508, kTemporalFailure = -521, kCallbackFailure = -902 };

// ---- libuv: handles are memory of the size it names, whose first word is ours ----

struct UvLoop;
struct UvHandle {
  void* data;
};

enum UvType { kUvCheck = 2, kUvPoll = 8, kUvPrepare = 9, kUvTimer = 13 };
enum UvEvents { kReadable = 1, kWritable = 2, kDisconnected = 4 };
using UvCallback = void (*)(UvHandle*);
using UvPollCallback = void (*)(UvHandle*, int status, int events);

// clang-format off
#define SWITCHYARD_HOST_ENTRIES(X) \
  X(nghttp2_session_callbacks_new, int, (Http2Callbacks**)) \
  X(nghttp2_session_callbacks_del, void, (Http2Callbacks*)) \
  X(nghttp2_session_callbacks_set_on_begin_headers_callback, void, (Http2Callbacks*, int (*)(Http2Session*, const Frame*, void*))) \
  X(nghttp2_session_callbacks_set_on_header_callback, void, (Http2Callbacks*, int (*)(Http2Session*, const Frame*, const uint8_t*, size_t, const uint8_t*, size_t, uint8_t, void*))) \
  X(nghttp2_session_callbacks_set_on_frame_recv_callback, void, (Http2Callbacks*, int (*)(Http2Session*, const Frame*, void*))) \
  X(nghttp2_session_callbacks_set_on_invalid_frame_recv_callback, void, (Http2Callbacks*, int (*)(Http2Session*, const Frame*, int, void*))) \
  X(nghttp2_session_callbacks_set_on_data_chunk_recv_callback, void, (Http2Callbacks*, int (*)(Http2Session*, uint8_t, int32_t, const uint8_t*, size_t, void*))) \
  X(nghttp2_session_callbacks_set_on_stream_close_callback, void, (Http2Callbacks*, int (*)(Http2Session*, int32_t, uint32_t, void*))) \
  X(nghttp2_option_new, int, (Http2Option**)) \
  X(nghttp2_option_del, void, (Http2Option*)) \
  X(nghttp2_option_set_no_auto_window_update, void, (Http2Option*, int)) \
  X(nghttp2_option_set_no_closed_streams, void, (Http2Option*, int)) \
  X(nghttp2_option_set_max_settings, void, (Http2Option*, size_t)) \
  X(nghttp2_session_server_new2, int, (Http2Session**, const Http2Callbacks*, void*, const Http2Option*)) \
  X(nghttp2_session_del, void, (Http2Session*)) \
  X(nghttp2_session_mem_recv, ssize_t, (Http2Session*, const uint8_t*, size_t)) \
  X(nghttp2_session_mem_send, ssize_t, (Http2Session*, const uint8_t**)) \
  X(nghttp2_session_want_read, int, (Http2Session*)) \
  X(nghttp2_session_want_write, int, (Http2Session*)) \
  X(nghttp2_session_get_stream_user_data, void*, (Http2Session*, int32_t)) \
  X(nghttp2_session_set_stream_user_data, int, (Http2Session*, int32_t, void*)) \
  X(nghttp2_session_set_local_window_size, int, (Http2Session*, uint8_t, int32_t, int32_t)) \
  X(nghttp2_session_consume, int, (Http2Session*, int32_t, size_t)) \
  X(nghttp2_session_consume_connection, int, (Http2Session*, size_t)) \
  X(nghttp2_session_consume_stream, int, (Http2Session*, int32_t, size_t)) \
  X(nghttp2_session_resume_data, int, (Http2Session*, int32_t)) \
  X(nghttp2_session_get_outbound_queue_size, size_t, (Http2Session*)) \
  X(nghttp2_session_get_last_proc_stream_id, int32_t, (Http2Session*)) \
  X(nghttp2_session_terminate_session, int, (Http2Session*, uint32_t)) \
  X(nghttp2_submit_settings, int, (Http2Session*, uint8_t, const SettingsEntry*, size_t)) \
  X(nghttp2_submit_response, int, (Http2Session*, int32_t, const NameValue*, size_t, const DataProvider*)) \
  X(nghttp2_submit_trailer, int, (Http2Session*, int32_t, const NameValue*, size_t)) \
  X(nghttp2_submit_rst_stream, int, (Http2Session*, uint8_t, int32_t, uint32_t)) \
  X(nghttp2_submit_ping, int, (Http2Session*, uint8_t, const uint8_t*)) \
  X(nghttp2_submit_goaway, int, (Http2Session*, uint8_t, int32_t, uint32_t, const uint8_t*, size_t)) \
  X(nghttp2_submit_shutdown_notice, int, (Http2Session*))

#define SWITCHYARD_LOOP_ENTRIES(X) \
  X(uv_handle_size, size_t, (int)) \
  X(uv_close, void, (UvHandle*, UvCallback)) \
  X(uv_unref, void, (UvHandle*)) \
  X(uv_now, uint64_t, (const UvLoop*)) \
  X(uv_poll_init_socket, int, (UvLoop*, UvHandle*, int)) \
  X(uv_poll_start, int, (UvHandle*, int, UvPollCallback)) \
  X(uv_poll_stop, int, (UvHandle*)) \
  X(uv_check_init, int, (UvLoop*, UvHandle*)) \
  X(uv_check_start, int, (UvHandle*, UvCallback)) \
  X(uv_prepare_init, int, (UvLoop*, UvHandle*)) \
  X(uv_prepare_start, int, (UvHandle*, UvCallback)) \
  X(uv_timer_init, int, (UvLoop*, UvHandle*)) \
  X(uv_timer_start, int, (UvHandle*, UvCallback, uint64_t, uint64_t))
// clang-format on

/** One function pointer for each entry, under the entry's own name. */
struct Host {
#define SWITCHYARD_FIELD(name, result, arguments) result(*name) arguments;
  SWITCHYARD_HOST_ENTRIES(SWITCHYARD_FIELD)
  SWITCHYARD_LOOP_ENTRIES(SWITCHYARD_FIELD)
#undef SWITCHYARD_FIELD
};

extern Host host;

/** Looks the entries of nghttp2 up in this process; the first one that is missing, or nullptr. */
const char* loadHttp2();
/** The same for libuv. */
const char* loadLoop();

}  // namespace switchyard::net
