// What all connections have in common for nghttp2: where it tells of frames, and what it does not do by itself.
#include "grpc_connection.h"

namespace switchyard::grpc {
namespace {

Connection& self(void* user) { return *static_cast<Connection*>(user); }

}  // namespace

Http2Rules::Http2Rules() {
  if (host.nghttp2_session_callbacks_new(&callbacks) != 0 || host.nghttp2_option_new(&option) != 0) return;
  host.nghttp2_session_callbacks_set_on_begin_headers_callback(
      callbacks, [](Http2Session*, const Frame* frame, void* user) { return self(user).onBeginHeaders(*frame); });
  host.nghttp2_session_callbacks_set_on_header_callback(
      callbacks, [](Http2Session*, const Frame* frame, const uint8_t* name, size_t nameLength, const uint8_t* value,
                    size_t valueLength, uint8_t, void* user) {
        return self(user).onHeader(*frame, name, nameLength, value, valueLength);
      });
  host.nghttp2_session_callbacks_set_on_frame_recv_callback(
      callbacks, [](Http2Session*, const Frame* frame, void* user) { return self(user).onFrame(*frame); });
  host.nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
      callbacks, [](Http2Session*, const Frame*, int, void* user) { return self(user).onInvalidFrame(); });
  host.nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks, [](Http2Session*, uint8_t, int32_t stream, const uint8_t* bytes, size_t length, void* user) {
        return self(user).onData(stream, bytes, length);
      });
  host.nghttp2_session_callbacks_set_on_stream_close_callback(
      callbacks, [](Http2Session*, int32_t stream, uint32_t, void* user) { return self(user).onClose(stream); });
  // Windows are given back by what is read, not by what arrived.
  host.nghttp2_option_set_no_auto_window_update(option, 1);
  host.nghttp2_option_set_no_closed_streams(option, 1);
  host.nghttp2_option_set_max_settings(option, 32);
}

Http2Rules::~Http2Rules() {
  if (callbacks != nullptr) host.nghttp2_session_callbacks_del(callbacks);
  if (option != nullptr) host.nghttp2_option_del(option);
}

}  // namespace switchyard::grpc
