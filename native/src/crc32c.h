// CRC-32C (Castagnoli) by the processor's own instructions; src/shared/crc32c.ts is its twin.
#pragma once

#include <cstddef>
#include <cstdint>

namespace switchyard {

/** Whether the processor has them. Where it has not, the twin does the work. */
bool hasCrc32c();

/** Call it only where the processor has them. */
uint32_t crc32c(const uint8_t* at, size_t bytes);

}  // namespace switchyard
