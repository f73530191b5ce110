#include "record_json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "avro.h"
#include "print.h"

namespace switchyard {
namespace {

/** The first version whose records say how a route came to its decision. */
constexpr int64_t kLeastVersion = 2;
/** Beyond it JavaScript's numbers are not exact. */
constexpr int64_t kMostExact = int64_t{1} << 53;
/** Name, datatype, shape and six arrays, all of them empty. */
constexpr int64_t kLeastColumnBytes = 9;

/** Bytes of the UTF-8 character at `at`, which is no ASCII; 0: it is none. */
int64_t characterBytes(const uint8_t* at, const uint8_t* end) {
  const int bytes = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
  if (at[0] < 0xc2 || at[0] > 0xf4 || bytes > end - at) return 0;
  for (int i = 1; i < bytes; i++)
    if ((at[i] & 0xc0) != 0x80) return 0;
  // Too long for what it says, half of a surrogate pair, or beyond Unicode.
  if (at[0] == 0xe0 && at[1] < 0xa0) return 0;
  if (at[0] == 0xed && at[1] > 0x9f) return 0;
  if (at[0] == 0xf0 && at[1] < 0x90) return 0;
  if (at[0] == 0xf4 && at[1] > 0x8f) return 0;
  return bytes;
}

/** Of eight bytes, whether JSON shows all of them as they are: ASCII that is no control character, quote or backslash. */
inline bool isPlain(uint64_t bytes) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  constexpr uint64_t kHighest = 0x8080808080808080;
  const uint64_t quote = bytes ^ kOnes * '"';
  const uint64_t backslash = bytes ^ kOnes * '\\';
  return (((bytes - kOnes * 0x20) | (quote - kOnes) | (backslash - kOnes) | bytes) & kHighest) == 0;
}

template <typename T>
bool areFinite(const uint8_t* data, int64_t count) {
  bool all = true;
  for (int64_t i = 0; i < count; i++) {
    T value;
    std::memcpy(&value, data + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    all &= std::isfinite(value);
  }
  return all;
}

}  // namespace

/** A record on its way to a line: reads from `in`, writes to `out`. */
struct Line {
  using Passage = RecordPrinter::Passage;
  using ColumnHead = RecordPrinter::ColumnHead;

  AvroCursor in;
  uint8_t* out;
  RecordPrinter& printer;
  int columns = 0;

  /**
   * Copies fields that are encoded as they were the last time, else prints them. An encoding tells where it ends, so the
   * same bytes are the same fields.
   */
  template <typename Print>
  void repeated(Passage& last, Print print) {
    if (last.encoded != nullptr && last.encodedBytes <= in.left() &&
        std::memcmp(in.at, last.encoded, last.encodedBytes) == 0) {
      std::memcpy(out, last.printed, last.printedBytes);
      out += last.printedBytes;
      in.at += last.encodedBytes;
      return;
    }
    const uint8_t* const encoded = in.at;
    const uint8_t* const printed = out;
    print();
    if (in.good) last = {encoded, in.at - encoded, printed, out - printed};
  }

  template <int N>
  void put(const char (&text)[N]) {
    std::memcpy(out, text, N - 1);
    out += N - 1;
  }

  void integer(int64_t value) {
    char* const text = reinterpret_cast<char*>(out);
    out = reinterpret_cast<uint8_t*>(std::to_chars(text, text + 24, value).ptr);
  }

  /** JSON has no other numbers than finite ones. */
  void number(double value) {
    if (std::isfinite(value)) {
      out = printNumber(out, value);
    } else {
      put("null");
    }
  }

  void escape(uint8_t c) {
    constexpr char kHex[] = "0123456789abcdef";
    const char* const found = c == 0 ? nullptr : std::strchr("\"\\\bb\ff\nn\rr\tt", c);
    *out++ = '\\';
    if (c == '"' || c == '\\') {
      *out++ = c;
    } else if (found != nullptr) {
      *out++ = static_cast<uint8_t>(found[1]);
    } else {
      put("u00");
      *out++ = kHex[c >> 4];
      *out++ = kHex[c & 15];
    }
  }

  void quoted(AvroText text) {
    *out++ = '"';
    const uint8_t* const end = text.at + text.length;
    for (const uint8_t* at = text.at; at < end;) {
      uint64_t eight;
      if (end - at >= static_cast<int64_t>(sizeof(eight))) {
        std::memcpy(&eight, at, sizeof(eight));
        if (isPlain(eight)) {
          std::memcpy(out, &eight, sizeof(eight));
          out += sizeof(eight);
          at += sizeof(eight);
          continue;
        }
      }
      const uint8_t c = *at;
      if (c >= 0x80) {
        const int64_t bytes = characterBytes(at, end);
        if (bytes == 0) {
          in.refuse();
          return;
        }
        std::memcpy(out, at, bytes);
        out += bytes;
        at += bytes;
        continue;
      }
      at++;
      if (c < 0x20 || c == '"' || c == '\\') {
        escape(c);
      } else {
        *out++ = c;
      }
    }
    *out++ = '"';
  }

  void text() { quoted(in.text()); }

  void exact() {
    const int64_t value = in.number();
    if (value < -kMostExact || value > kMostExact) in.refuse();
    integer(value);
  }

  void real() { number(in.fixed<double>()); }

  void truth() {
    if (in.byte() != 0) {
      put("true");
    } else {
      put("false");
    }
  }

  /** An array, `item` printing each, of which each takes at least so many bytes. */
  template <typename Item>
  void list(int64_t leastBytes, Item item) {
    *out++ = '[';
    const int64_t count = in.items(leastBytes);
    for (int64_t i = 0; i < count && in.good; i++) {
      if (i > 0) *out++ = ',';
      item();
    }
    in.close(count);
    *out++ = ']';
  }

  void reals() {
    list(8, [this] { real(); });
  }

  void texts() {
    list(1, [this] { text(); });
  }

  template <typename Value>
  void optional(Value value) {
    if (in.byte() != 0) value();
  }

  void head();
  void origin();
  void timings();
  void decision();
  void rest();
  void reasons();
  void column();
  void head(ColumnHead& head);
  void longs(AvroText datatype);
  template <typename T>
  void floats(Type type);
};

void Line::timings() {
  put(",\"timings\":{\"queue\":");
  real();
  put(",\"computeInput\":");
  real();
  put(",\"computeInfer\":");
  real();
  put(",\"computeOutput\":");
  real();
  put(",\"batchSize\":");
  real();
  *out++ = '}';
}

/** What records of one origin have in common. */
void Line::origin() {
  put(",\"route\":");
  text();
  put(",\"variant\":");
  text();
  put(",\"assigned\":");
  text();
  put(",\"model\":");
  text();
  put(",\"version\":");
  text();
  put(",\"digest\":");
  text();
  put(",\"requestedModel\":");
  text();
  put(",\"tenant\":");
  text();
  put(",\"protocol\":");
  text();
  put(",\"role\":");
  text();
  put(",\"detour\":");
  text();
  put(",\"shadow\":");
  truth();
  put(",\"analysed\":");
  truth();
  put(",\"sampleRate\":");
  real();
  put(",\"schemaVersion\":");
  const int64_t version = in.number();
  if (version < kLeastVersion) in.refuse();
  integer(version);
}

/** How a route decided, but for the bucket, and where what is kept apart is. */
void Line::decision() {
  put(",\"propensity\":");
  real();
  put(",\"stateVersion\":");
  exact();
  put(",\"snapshotVersion\":");
  exact();
  put(",\"pmf\":");
  reals();
  put(",\"eligible\":");
  texts();
  optional([this] {
    put(",\"payloadRef\":");
    text();
  });
  optional([this] {
    put(",\"payloadSha256\":");
    text();
  });
}

/** What is before the columns. */
void Line::head() {
  put("{\"id\":");
  text();
  put(",\"time\":");
  exact();
  put(",\"entity\":");
  text();
  put(",\"requestId\":");
  text();
  put(",\"traceparent\":");
  text();
  repeated(printer.origin_, [this] { origin(); });
  put(",\"status\":");
  text();
  put(",\"latencyMs\":");
  real();
  optional([this] { timings(); });
  repeated(printer.decision_, [this] { decision(); });
}

/** From the columns on. */
void Line::rest() {
  put(",\"features\":");
  list(kLeastColumnBytes, [this] { column(); });
  put(",\"predictions\":");
  list(kLeastColumnBytes, [this] { column(); });
  put(",\"redactions\":");
  texts();
  put(",\"override\":");
  exact();
  put(",\"bucket\":");
  exact();
  repeated(printer.reasons_, [this] { reasons(); });
}

/** What else led to the decision. */
void Line::reasons() {
  put(",\"fallbacks\":");
  list(2, [this] {
    put("{\"variant\":");
    text();
    put(",\"cause\":");
    text();
    *out++ = '}';
  });
  optional([this] {
    put(",\"proposed\":{\"variant\":");
    text();
    put(",\"pmf\":");
    reals();
    *out++ = '}';
  });
  put(",\"context\":");
  reals();
}

/** As answers show them, but for what JSON has no number for. */
template <typename T>
void Line::floats(Type type) {
  const int64_t count = in.items(sizeof(T));
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  const uint8_t* const data = in.at;
  in.at += bytes;
  *out++ = '[';
  if (areFinite<T>(data, count)) {
    out = printElements(type, data, 0, 0, count, out, out + (count + 1) * kElementRoom).end;
  } else {
    for (int64_t i = 0; i < count; i++) {
      const bool isText = !areFinite<T>(data + i * static_cast<int64_t>(sizeof(T)), 1);
      if (i > 0) *out++ = ',';
      if (isText) *out++ = '"';
      out = printElements(type, data, i, i, i + 1, out, out + 2 * kElementRoom).end;
      if (isText) *out++ = '"';
    }
  }
  *out++ = ']';
  in.close(count);
}

/** Integers as their datatype has them. */
void Line::longs(AvroText datatype) {
  const bool isUnsigned64 = datatype.is("UINT64");
  const bool isExact = isUnsigned64 || datatype.is("INT64");
  list(1, [&] {
    const int64_t value = in.number();
    if (isUnsigned64) {
      char* const text = reinterpret_cast<char*>(out);
      out = reinterpret_cast<uint8_t*>(std::to_chars(text, text + 24, static_cast<uint64_t>(value)).ptr);
    } else {
      if (!isExact && (value < INT32_MIN || value > (datatype.is("UINT32") ? UINT32_MAX : INT32_MAX))) in.refuse();
      integer(value);
    }
  });
}

void Line::head(ColumnHead& head) {
  put("{\"name\":");
  text();
  put(",\"datatype\":");
  head.datatype = in.text();
  quoted(head.datatype);
  put(",\"shape\":");
  head.isEmpty = false;
  list(1, [&] {
    const int64_t dim = in.number();
    if (dim < 0 || dim > kMostExact) in.refuse();
    if (dim == 0) head.isEmpty = true;
    integer(dim);
  });
  put(",\"data\":");
}

void Line::column() {
  ColumnHead& head = printer.columns_[std::min(columns++, RecordPrinter::kColumns - 1)];
  repeated(head, [&] { this->head(head); });
  uint8_t* const data = out;
  int arrays = 0;
  const auto array = [&](auto print) {
    if (in.byte() == 0) return;
    if (arrays++ > 0) in.refuse();
    print();
  };
  array([&] { floats<float>(kFp32); });
  array([&] { floats<double>(kFp64); });
  array([&] { longs(head.datatype); });
  array([&] { list(1, [&] { truth(); }); });
  array([&] { texts(); });
  // Bytes that are no text.
  if (in.byte() != 0) in.refuse();
  // No values though the shape tells of some: they were taken out, or lie apart.
  if (out - data <= 2) {
    out = data;
    if (head.isEmpty) {
      put("[]");
    } else {
      put("null");
    }
  }
  *out++ = '}';
}

uint8_t* RecordPrinter::print(const uint8_t* at, const uint8_t* end, uint8_t* out) {
  Line line{{at, end}, out, *this};
  line.head();
  line.rest();
  if (!line.in.good || line.in.left() > 0) {
    // The line is no more.
    *this = RecordPrinter();
    return nullptr;
  }
  line.put("}\n");
  return line.out;
}

}  // namespace switchyard
