// A libFuzzer target for the HTTP server of native/src but its sockets and its binding:  .ci/fuzz.sh SECONDS
// The first byte of an input chooses what is done with the rest: a head for the parser, requests whose answers must not
// depend on where their bytes are cut, or a connection whose requests are answered in every way, early, late or never,
// while its client reads slowly, stalls or leaves, and time passes.
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "http_connection.h"

namespace {

using namespace switchyard;
using namespace switchyard::http;

void require(bool holds) {
  if (!holds) std::abort();
}

/** The bytes in a block of just their size: reading one too many is seen. */
std::unique_ptr<char[]> exact(const void* bytes, size_t length) {
  std::unique_ptr<char[]> block(new char[length]);
  if (length > 0) std::memcpy(block.get(), bytes, length);
  return block;
}

void checkHead(const Head& head, size_t length) {
  const auto within = [&](const Text& text) { return text.at <= length && text.length <= length - text.at; };
  require(within(head.method) && head.method.length > 0 && within(head.path) && head.path.length > 0);
  for (int field = 0; field < kFields; field++) {
    if ((head.present >> field & 1u) != 0) require(within(head.fields[field]));
  }
  require(head.askedPresent >> head.askedNames == 0);
  for (uint32_t name = 0; name < head.askedNames; name++) {
    if ((head.askedPresent >> name & 1u) != 0) require(within(head.asked[name]));
  }
  require(head.contentLength >= -1);
}

/** A head that is taken whole may have come in any pieces. */
void parse(const uint8_t* data, size_t size) {
  const auto text = exact(data, size);
  Head head;
  AskedNames asked;
  for (const char* name : {"x-request-id", "host", "a"}) asked.add(name, false);
  const Refusal refusal = readHead(text.get(), size, asked, head);
  require((refusal.status == 0) == (refusal.message == nullptr));
  if (refusal.status != 0) return;
  checkHead(head, size);
  for (size_t part = 0; part <= size; part++) require(mayBecomeHead(exact(data, part).get(), part));
}

/** The bytes of an input, one by one; 0 when they are used up. */
struct Choices {
  const uint8_t* at;
  const uint8_t* end;
  uint8_t next() { return at < end ? *at++ : 0; }
};

bool receive(HttpConnection& connection, const void* bytes, size_t length, uint64_t now) {
  const auto part = exact(bytes, length);
  return connection.receive(reinterpret_cast<const uint8_t*>(part.get()), length, now);
}

size_t count(const std::string& text, const char* what) {
  size_t found = 0;
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at++) found++;
  return found;
}

const char kHead[] = "200 OK\r\nContent-Type: text/plain";
constexpr size_t kHeadLength = sizeof kHead - 1;

HttpLimits limits() {
  HttpLimits out;
  out.maxBody = 300000;
  return out;
}

/** What a client hears whose requests are echoed as soon as they are whole. */
std::string echo(const uint8_t* data, size_t size, Choices cuts) {
  Exchanges exchanges;
  exchanges.limits = limits();
  HttpConnection connection(exchanges, 0);
  std::string heard;
  size_t at = 0;
  while (at < size) {
    const uint8_t cut = cuts.next();
    const size_t part = std::min(size - at, cut == 0 ? size : static_cast<size_t>(cut));
    require(receive(connection, data + at, part, 0));
    at += part;
    while (!exchanges.queued.empty()) {
      std::vector<Queued> queued;
      queued.swap(exchanges.queued);
      for (const Queued& each : queued) {
        HttpConnection* found = exchanges.find(each.slot, each.generation);
        require(found == &connection && connection.expects());
        connection.told();
        if (!connection.bodyComplete()) continue;
        checkHead(connection.head(), connection.headLength());
        if (connection.bodyIsLarge()) {
          LargeBody body = connection.takeLarge();
          require(body.length == connection.bodyLength());
          connection.answer(kHead, kHeadLength, body.bytes, body.length, false, false);
          std::free(body.bytes);
        } else {
          connection.answer(kHead, kHeadLength, connection.body(), connection.bodyLength(), false, false);
        }
      }
      while (connection.produce(100000)) {
      }
      heard += connection.output;
      connection.output.clear();
      connection.flushed();
    }
    while (connection.produce(100000)) {
    }
    heard += connection.output;
    connection.output.clear();
    connection.flushed();
  }
  static const std::string kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  // Only a client whose body has not come is asked for it.
  if (heard.find("HTTP/1.1 200") != std::string::npos || heard.find(kContinue) == 0) {
    for (size_t found; (found = heard.find(kContinue)) != std::string::npos;) heard.erase(found, kContinue.size());
  }
  return heard;
}

/** What JavaScript knows of a request. */
struct Known {
  bool bodyThere = false;
  bool answered = false;
  bool streaming = false;
  bool tracked = false;
  bool over = false;
};

class Conversation {
 public:
  Conversation(const uint8_t* data, size_t size, uint8_t mode)
      : mode_(mode), at_(data), end_(data + size - size / 3), choices_{end_, data + size} {
    exchanges_.limits = limits();
    if ((mode & 4) != 0) exchanges_.limits.maxHeld = 50000;
    connection_ = std::make_unique<HttpConnection>(exchanges_, now_);
  }

  void run() {
    for (int turn = 0; turn < 400 && connection_ != nullptr; turn++) {
      if (at_ == end_ && choices_.at == choices_.end) break;
      const uint8_t choice = choices_.next();
      step(choice);
      if (connection_ == nullptr) break;
      tell();
      flush(choice % 3 == 2 ? choices_.next() * 97u : 1u << 20);
      tell();
    }
    silence();
    if (connection_ != nullptr) drop();
    tell();
    // Nothing that JavaScript was told of waits for ever.
    for (const auto& [name, known] : known_) require(known.over);
    require(count(heard_, "HTTP/1.1 200") <= begun_);
    require(exchanges_.held == 0);
  }

 private:
  void step(uint8_t choice) {
    switch (choice % 8) {
      case 5:
        now_ += choices_.next() * 100u;
        sweep();
        break;
      case 6: {
        const std::string filler(choices_.next() * 257u, 'x');
        send(filler.data(), filler.size());
        break;
      }
      case 7:
        act(choices_.next());
        break;
      default: {
        const size_t part = std::min(static_cast<size_t>(end_ - at_), choice < 128 ? size_t{4096} : choices_.next());
        send(at_, part);
        at_ += part;
      }
    }
  }

  void send(const void* bytes, size_t length) {
    if (leaving_ || length == 0) return;
    if (!connection_->wantsRead()) return;
    if (!receive(*connection_, bytes, length, now_)) leaving_ = true;
  }

  void sweep() {
    if (!connection_->sweep(now_, sent_)) {
      connection_->expel();
      drop();
    }
  }

  /** A client that takes nothing or next to nothing, sends nothing and is owed nothing but what lies ready does not hold a connection. */
  void silence() {
    const auto found = known_.find(last_.generation);
    if (connection_ != nullptr && connection_->expects() && found != known_.end() && !found->second.over) {
      if (!found->second.bodyThere && !connection_->bodyComplete()) return sweepFor(300, false);
      if (found->second.streaming) act(5);
      else act(0);
    }
    sweepFor(300, true);
  }

  void sweepFor(int seconds, bool mustEnd) {
    for (int i = 0; i < seconds && connection_ != nullptr; i++) {
      now_ += 1000;
      sweep();
      if (connection_ == nullptr) break;
      flush((mode_ & 2) != 0 ? 1 : 0);
      tell();
      // Told of only now.
      if (connection_ != nullptr && connection_->expects()) mustEnd = false;
    }
    require(connection_ == nullptr || !mustEnd);
  }

  void drop() {
    connection_->abandon();
    connection_.reset();
  }

  void tell() {
    std::vector<Queued> queued;
    queued.swap(exchanges_.queued);
    for (const Queued& each : queued) {
      HttpConnection* found = exchanges_.find(each.slot, each.generation);
      const auto known = known_.find(each.generation);
      if (each.notice == Notice::kGone) {
        require(known != known_.end());
        known->second.over = true;
      } else if (each.notice == Notice::kFlushed) {
        if (known != known_.end() && known->second.answered) known->second.over = true;
      } else if (found != nullptr && found->expects()) {
        if (each.notice == Notice::kRequest) {
          require(known == known_.end());
          checkHead(found->head(), found->headLength());
          exact(found->headText(), found->headLength());
          found->told();
          last_ = each;
          begun(*found, known_[each.generation]);
        } else {
          require(known != known_.end() && !known->second.bodyThere);
          begun(*found, known->second);
        }
        act(choices_.next());
      }
    }
  }

  void begun(HttpConnection& connection, Known& known) {
    if (!connection.bodyComplete()) return;
    known.bodyThere = true;
    if (connection.bodyIsLarge()) {
      const LargeBody body = connection.takeLarge();
      require(body.length == connection.bodyLength());
      std::free(body.bytes);
    } else {
      exact(connection.body(), connection.bodyLength());
    }
  }

  /** Does what a handler might to the last request. */
  void act(uint8_t choice) {
    HttpConnection* connection = exchanges_.find(last_.slot, last_.generation);
    const auto found = known_.find(last_.generation);
    if (connection == nullptr || found == known_.end()) return;
    Known& known = found->second;
    static const uint8_t kBytes[70000] = {};
    switch (choice % 8) {
      case 0:
      case 1:
        if (known.answered || known.streaming || known.over) return;
        known.answered = true;
        known.tracked = (choice & 8) != 0;
        if (!known.tracked) known.over = true;
        begun_++;
        connection->answer(kHead, kHeadLength, kBytes, known.tracked ? sizeof kBytes : choice, (choice & 16) != 0,
                           known.tracked);
        break;
      case 2:
        if (known.answered || known.streaming || known.over) return;
        known.streaming = true;
        begun_++;
        connection->startStream(kHead, kHeadLength, (choice & 16) != 0);
        break;
      case 3:
      case 4:
        if (known.streaming && !known.answered && !known.over) connection->write(kBytes, choice * 270u);
        break;
      case 5:
        if (!known.streaming || known.answered || known.over) return;
        known.answered = known.tracked = true;
        connection->endStream();
        break;
      case 6:
        if ((choice & 24) != 24 || known.over) return;
        connection->destroy();
        known.over = true;
        break;
      default:
        break;
    }
  }

  /** As socket_server.cc does, with `room` bytes that the socket takes; `mode_ & 1`: over TLS. */
  void flush(size_t room) {
    const bool more = connection_->produce(mode_ & 1 && encrypted_ > 4096 ? 1 : 4096);
    std::string& output = connection_->output;
    if ((mode_ & 1) != 0) {
      heard_ += output;
      encrypted_ += output.size();
      output.clear();
      const size_t taken = std::min(room, encrypted_);
      encrypted_ -= taken;
      sent_ += taken;
      if (encrypted_ > 0) return;
    } else {
      const size_t taken = std::min(room, output.size() - connection_->outputAt);
      heard_.append(output, connection_->outputAt, taken);
      connection_->outputAt += taken;
      sent_ += taken;
      if (connection_->outputAt < output.size()) return;
      output.clear();
      connection_->outputAt = 0;
    }
    if (more) return;
    connection_->flushed();
    if (connection_->over()) drop();
  }

  const uint8_t mode_;
  const uint8_t* at_;
  const uint8_t* const end_;
  Choices choices_;
  Exchanges exchanges_;
  std::unique_ptr<HttpConnection> connection_;
  std::map<uint32_t, Known> known_;
  Queued last_{Notice::kRequest, 0, 0};
  uint64_t now_ = 0;
  uint64_t sent_ = 0;
  size_t encrypted_ = 0;
  size_t begun_ = 0;
  bool leaving_ = false;
  std::string heard_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const uint8_t mode = *data++;
  size--;
  if (mode < 0x40) {
    parse(data, size);
  } else if (mode < 0x60) {
    const size_t spoken = size - size / 8;
    require(echo(data, spoken, {data, data}) == echo(data, spoken, {data + spoken, data + size}));
    const uint8_t ones[4096] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    require(echo(data, spoken, {data, data}) == echo(data, spoken, {ones, ones + 24}));
  } else {
    Conversation(data, size, mode).run();
  }
  return 0;
}
