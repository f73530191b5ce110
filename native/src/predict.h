// Decodes the bodies of TensorFlow Serving's REST protocol: of `:predict`, and `examples` of `:classify` and `:regress`. Its
// twins are src/protocol/tfserving/predict-request.ts and classify.ts.
#pragma once

#include "body_decoder.h"
#include "nested.h"

namespace switchyard {

/**
 * Which inputs a body may name: of each its type, whether it is declared as a scalar, the bytes of its name (two bytes, the
 * lower one first) and the name. With one of them the body need not name it.
 */
class ExpectedInputs {
 public:
  /** False where the bytes are no such list, or there are more than kMaxInputs. */
  bool read(Body list);

  int count() const { return count_; }
  int type(int number) const { return inputs_[number].type; }
  bool isScalar(int number) const { return inputs_[number].scalar; }
  const Text& name(int number) const { return inputs_[number].name; }
  /** The number of the one with this name; -1: there is none. */
  int find(const Text& name) const;

 private:
  struct Input {
    Text name;
    uint8_t type;
    bool scalar;
  };

  int count_ = 0;
  Input inputs_[kMaxInputs];
};

/**
 * In two passes over the values: the first one finds out the shapes, the second one reads numbers to where they belong. So
 * each tensor is made once, and neither pass keeps anything per row.
 */
class PredictDecoder final : public BodyDecoder {
 public:
  PredictDecoder(Body body, Body expected, Slab slab, int32_t* meta, BufferSource buffers)
      : BodyDecoder(body, slab, meta, buffers), list_(expected) {}

  bool run(uint8_t* copy) override;

  /** Goes on with the tensor for which there was no buffer. */
  bool resume() override;

 private:
  /** An input and its values, of one shape, one behind the other. */
  struct Column {
    int number;
    Shape value;
    int64_t rows;
    int64_t valueBytes;
    uint8_t* out;
  };

  bool readMembers(bool open);
  bool readValues();
  bool measureValues();
  bool measureUnnamed();
  bool measureRow();
  bool measure(Column& column);
  bool fillValues();
  bool placeColumns();
  bool read(Column& column);

  template <typename Visit>
  bool eachRow(Visit visit);
  template <typename Visit>
  bool eachValue(Visit visit);
  Column* columnNamed(const Text& name, int likely);
  Column* addColumn(int number);

  const Body list_;
  ExpectedInputs expected_;
  bool examples_ = false;
  /** Whether the values of a row have names, and are in a list of rows. */
  bool named_ = false;
  bool listed_ = false;
  bool found_ = false;
  const uint8_t* valuesAt_ = nullptr;
  int64_t rows_ = 0;
  int placed_ = 0;
  int columnCount_ = 0;
  Column columns_[kMaxInputs];
};

}  // namespace switchyard
