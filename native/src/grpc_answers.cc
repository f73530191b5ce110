// What the server answers on a connection: headers, messages and trailers of calls, as nghttp2 asks for them.
#include <algorithm>
#include <cstring>

#include "grpc_connection.h"

namespace switchyard::grpc {
namespace {

const uint8_t* bytesOf(const char* text) { return reinterpret_cast<const uint8_t*>(text); }

/** Never comes again: the client's table of headers is not to fill with it. */
constexpr char kId[] = "x-switchyard-id";

NameValue pair(const char* name, size_t nameLength, const char* value, size_t valueLength) {
  const bool once = nameLength == sizeof kId - 1 && std::memcmp(name, kId, nameLength) == 0;
  const uint8_t flags = once ? kNeverIndexed : kPlainHeader;
  return {bytesOf(name), bytesOf(value), nameLength, valueLength, flags};
}

const NameValue kAnswerHeaders[] = {pair(":status", 7, "200", 3),
                                    pair("content-type", 12, "application/grpc+proto", 22)};
const NameValue kOkTrailers[] = {pair("grpc-status", 11, "0", 1)};

/** Cuts name NUL value NUL … into pairs that alias it. */
void cut(const char* texts, size_t length, std::vector<NameValue>& out) {
  const char* const end = texts + length;
  const auto lengthAt = [end](const char* text) {
    const void* nul = std::memchr(text, 0, static_cast<size_t>(end - text));
    return static_cast<size_t>((nul == nullptr ? end : static_cast<const char*>(nul)) - text);
  };
  for (const char* at = texts; at < end;) {
    const size_t name = lengthAt(at);
    if (name + 1 >= static_cast<size_t>(end - at)) break;
    const char* const value = at + name + 1;
    const size_t bytes = lengthAt(value);
    out.push_back(pair(at, name, value, bytes));
    if (bytes == static_cast<size_t>(end - value)) break;
    at = value + bytes + 1;
  }
}

std::vector<NameValue> cut(const std::string& texts) {
  std::vector<NameValue> out;
  cut(texts.data(), texts.size(), out);
  return out;
}

ssize_t readCall(Http2Session*, int32_t, uint8_t* out, size_t room, uint32_t* flags, DataSource* source, void* user) {
  return static_cast<Connection*>(user)->read(*static_cast<Call*>(source->pointer), out, room, flags);
}

}  // namespace

ssize_t Connection::read(Call& call, uint8_t* out, size_t room, uint32_t* flags) {
  size_t count = std::min(room, call.out.size() - call.outAt);
  if (count > 0) {
    std::memcpy(out, call.out.data() + call.outAt, count);
    call.outAt += count;
  }
  if (call.outAt == call.out.size()) {
    call.out.clear();
    call.outAt = 0;
    while (count < room && !call.borrowed.empty()) {
      Borrowed& bytes = call.borrowed.front();
      const size_t part = std::min(room - count, bytes.length);
      std::memcpy(out + count, bytes.at, part);
      count += part;
      bytes.at += part;
      bytes.length -= part;
      if (bytes.length > 0) break;
      calls_.release(calls_.releaseContext, bytes.owner);
      call.borrowed.pop_front();
    }
  }
  call.unsent -= count;
  owe(0 - count);
  taken_ += count;
  if (call.unsent > 0) return static_cast<ssize_t>(count);
  if (call.ending) {
    *flags |= call.bare ? kEof : kEof | kNoEndStream;
    settle(call);
    if (call.bare) return static_cast<ssize_t>(count);
    const std::vector<NameValue> trailers = cut(call.trailers);
    if (trailers.empty()) host.nghttp2_submit_trailer(session_, call.stream, kOkTrailers, 1);
    else host.nghttp2_submit_trailer(session_, call.stream, trailers.data(), trailers.size());
    return static_cast<ssize_t>(count);
  }
  if (call.wantsDrain) {
    call.wantsDrain = false;
    calls_.queue(Notice::kDrained, call);
  }
  if (count > 0) return static_cast<ssize_t>(count);
  call.deferred = true;
  return kDeferred;
}

/** The answer is complete: a client that still sends is asked to stop in a moment. */
void Connection::settle(Call& call) {
  call.complete = true;
  if (!call.ended) calls_.lingering.push_back({Notice::kEnd, call.slot, call.generation});
}

void Connection::answer(Call& call, const char* metadata, size_t metadataLength, const uint8_t* frame, size_t length) {
  if (call.stage == Stage::kAnswered) return;
  call.stage = Stage::kAnswered;
  call.out.append(reinterpret_cast<const char*>(frame), length);
  call.unsent += length;
  owe(length);
  call.ending = true;
  if (call.headersSent) {
    resume(call);
    return;
  }
  call.headersSent = true;
  DataProvider provider{};
  provider.source.pointer = &call;
  provider.read = readCall;
  if (metadataLength == 0) {
    host.nghttp2_submit_response(session_, call.stream, kAnswerHeaders, 2, &provider);
    return;
  }
  std::vector<NameValue> headers;
  headers.reserve(8);
  headers.insert(headers.end(), std::begin(kAnswerHeaders), std::end(kAnswerHeaders));
  cut(metadata, metadataLength, headers);
  host.nghttp2_submit_response(session_, call.stream, headers.data(), headers.size(), &provider);
}

void Connection::respond(Call& call, std::string&& headers, bool end) {
  if (call.headersSent) return;
  call.headersSent = true;
  const std::vector<NameValue> pairs = cut(headers);
  if (end) {
    call.stage = Stage::kAnswered;
    call.ending = true;
    settle(call);
    host.nghttp2_submit_response(session_, call.stream, pairs.data(), pairs.size(), nullptr);
    return;
  }
  DataProvider provider{};
  provider.source.pointer = &call;
  provider.read = readCall;
  host.nghttp2_submit_response(session_, call.stream, pairs.data(), pairs.size(), &provider);
}

void Connection::resume(Call& call) {
  if (!call.deferred) return;
  call.deferred = false;
  host.nghttp2_session_resume_data(session_, call.stream);
}

void Connection::write(Call& call, const uint8_t* bytes, size_t length) {
  if (call.ending) return;
  call.out.append(reinterpret_cast<const char*>(bytes), length);
  call.unsent += length;
  owe(length);
  resume(call);
}

void Connection::lend(Call& call, const Borrowed& bytes) {
  call.borrowed.push_back(bytes);
  call.unsent += bytes.length;
  owe(bytes.length);
  resume(call);
}

void Connection::finish(Call& call, std::string&& trailers, bool bare) {
  if (call.ending) return;
  call.stage = Stage::kAnswered;
  call.ending = true;
  call.trailers = std::move(trailers);
  call.bare = bare;
  resume(call);
}

void Connection::reset(Call& call, uint32_t code) {
  call.stage = Stage::kAnswered;
  host.nghttp2_submit_rst_stream(session_, 0, call.stream, code);
}

void Connection::consume(Call& call, size_t bytes) {
  host.nghttp2_session_consume_stream(session_, call.stream, bytes);
}

}  // namespace switchyard::grpc
