#include "predict.h"

#include "elements.h"

namespace switchyard {

bool ExpectedInputs::read(Body list) {
  size_t at = 0;
  while (at < list.length) {
    if (count_ == kMaxInputs || list.length - at < 4) return false;
    const uint8_t* const head = list.bytes + at;
    const int32_t length = head[2] | head[3] << 8;
    at += 4;
    if (head[0] >= kTypes || static_cast<size_t>(length) > list.length - at) return false;
    inputs_[count_++] = {{list.bytes + at, length}, head[0], head[1] != 0};
    at += length;
  }
  return count_ > 0;
}

int ExpectedInputs::find(const Text& name) const {
  for (int i = 0; i < count_; i++) {
    if (inputs_[i].name.length == name.length && std::memcmp(inputs_[i].name.at, name.at, name.length) == 0) return i;
  }
  return -1;
}

bool PredictDecoder::run(uint8_t* copy) {
  examples_ = meta_[kForm] == kExamples;
  bool open;
  if (!expected_.read(list_) || !begin(copy, body_.length) || !cursor_.expect('{')) return false;
  cursor_.enter('}', open);
  return readMembers(open);
}

bool PredictDecoder::resume() {
  bool open;
  return fillValues() && cursor_.more('}', open) && readMembers(open);
}

bool PredictDecoder::readMembers(bool open) {
  while (open) {
    Text key;
    Text signature;
    if (!cursor_.key(key)) return false;
    if (examples_ ? key.is("examples", 8) : key.is("instances", 9) || key.is("inputs", 6)) {
      if (found_) return false;
      listed_ = key.length > 6;
      if (!readValues()) return false;
    } else if (examples_ && key.is("context", 7)) {
      // Its features are for examples that do not have them.
      return false;
    } else if (!examples_ && key.is("signature_name", 14) ? !cursor_.plainString(signature) : !cursor_.skipValue()) {
      return false;
    }
    if (!cursor_.more('}', open)) return false;
  }
  if (!found_ || cursor_.peek() != 0 || cursor_.at != cursor_.end) return false;
  meta_[kForm] = !listed_;
  finish(columnCount_);
  return true;
}

bool PredictDecoder::readValues() {
  found_ = true;
  cursor_.peek();
  valuesAt_ = cursor_.at;
  return measureValues() && fillValues();
}

bool PredictDecoder::measureValues() {
  Cursor ahead = cursor_;
  named_ = (!listed_ || ahead.expect('[')) && ahead.peek() == '{';
  if (named_) return eachRow([this] { return measureRow(); });
  return !examples_ && measureUnnamed();
}

bool PredictDecoder::measureUnnamed() {
  if (expected_.count() != 1) return false;
  rows_ = 1;
  Column* const column = addColumn(0);
  return column != nullptr && measureNested(cursor_, column->value);
}

/** Each row has all of the columns, once: those of the first one are no longer added to. */
bool PredictDecoder::measureRow() {
  int found = 0;
  const bool whole = eachValue([this, &found](Column& column) {
    found++;
    return column.rows++ == rows_ && measure(column);
  });
  rows_++;
  return whole && found == columnCount_;
}

/** Of a scalar the shape is empty, or of an example's a list of one. */
bool PredictDecoder::measure(Column& column) {
  Shape shape;
  if (cursor_.peek() == '[') {
    if (!measureNested(cursor_, shape)) return false;
  } else {
    if (examples_) shape.dims[shape.rank++] = 1;
    if (*cursor_.at == '"' || *cursor_.at == '{' || !cursor_.skipValue()) return false;
  }
  if (rows_ == 0) column.value = shape;
  return column.value.is(shape);
}

/** Also from where there was no buffer for a column. */
bool PredictDecoder::fillValues() {
  if (!placeColumns()) return false;
  cursor_.at = valuesAt_;
  const auto read = [this](Column& column) { return this->read(column); };
  if (named_) return eachRow([this, &read] { return eachValue(read); });
  return this->read(columns_[0]);
}

bool PredictDecoder::placeColumns() {
  for (; placed_ < columnCount_; placed_++) {
    Column& column = columns_[placed_];
    const int type = expected_.type(column.number);
    Shape shape;
    if (listed_ && named_) shape.dims[shape.rank++] = static_cast<int32_t>(rows_);
    const bool leaveOut = examples_ && expected_.isScalar(column.number) && column.value.rank == 1 && column.value.dims[0] == 1;
    for (int i = 0; i < column.value.rank && !leaveOut; i++) {
      if (shape.rank == kMaxRank) return false;
      shape.dims[shape.rank++] = column.value.dims[i];
    }
    column.valueBytes = column.value.count * kElementBytes[type];
    column.out = place(rows_ * column.valueBytes);
    if (column.out == nullptr || note(column.number, 0, type, shape.rank, shape.dims) == nullptr) return false;
  }
  return true;
}

bool PredictDecoder::read(Column& column) {
  const auto type = static_cast<Type>(expected_.type(column.number));
  uint8_t* const out = column.out;
  column.out += column.valueBytes;
  if (cursor_.peek() == '[') return readNumbers(cursor_, readable_, type, column.value.count, out);
  return readNumber(cursor_, type, out);
}

template <typename Visit>
bool PredictDecoder::eachRow(Visit visit) {
  if (!listed_) return visit();
  if (!cursor_.expect('[')) return false;
  for (bool open = true; open;) {
    if (!visit() || !cursor_.more(']', open)) return false;
  }
  return true;
}

/** The values of a row, which has at least one. */
template <typename Visit>
bool PredictDecoder::eachValue(Visit visit) {
  if (!cursor_.expect('{')) return false;
  int likely = 0;
  for (bool open = true; open;) {
    Text key;
    if (!cursor_.key(key)) return false;
    Column* const column = columnNamed(key, likely);
    if (column == nullptr || !visit(*column) || !cursor_.more('}', open)) return false;
    likely = static_cast<int>(column - columns_) + 1;
  }
  return true;
}

/** Rows mostly name their values in the same order. Nullptr where the name is none of an input that is read here. */
PredictDecoder::Column* PredictDecoder::columnNamed(const Text& name, int likely) {
  for (int i = 0; i < columnCount_; i++) {
    Column& column = columns_[(likely + i) % columnCount_];
    const Text& known = expected_.name(column.number);
    if (known.length == name.length && std::memcmp(known.at, name.at, name.length) == 0) return &column;
  }
  // {"b64": "…"} is a value and not one's name.
  const int number = rows_ > 0 || name.is("b64", 3) ? -1 : expected_.find(name);
  return number < 0 ? nullptr : addColumn(number);
}

PredictDecoder::Column* PredictDecoder::addColumn(int number) {
  const int type = expected_.type(number);
  if (type == kFp16 || type == kBf16 || type == kBytes) return nullptr;
  Column& column = columns_[columnCount_++];
  column = {number, {}, 0, 0, nullptr};
  return &column;
}

}  // namespace switchyard
