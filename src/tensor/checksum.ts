import { crc32c } from '../shared/crc32c.ts';
import { native } from './native.ts';

/** CRC-32C of `bytes[start]` up to `bytes[end - 1]`: by the processor's instructions where the addon is there. */
export const checksum = native?.crc32c ?? crc32c;
