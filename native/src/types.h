#pragma once

namespace switchyard {

/** Datatypes by their index in DATA_TYPES (src/tensor/tensor.ts). */
enum Type { kBool, kUint8, kUint16, kUint32, kUint64, kInt8, kInt16, kInt32, kInt64, kFp16, kBf16, kFp32, kFp64, kBytes };
constexpr int kTypes = 14;

/** Bytes of one element; 0 for BYTES. */
constexpr int kElementBytes[kTypes] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8, 0};

}  // namespace switchyard
