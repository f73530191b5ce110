import { decodeFeedback, decodeRecord } from '../encode/record-decoder.ts';
import type { FeedbackRecord, LogRecord } from '../record.ts';
import { FEEDBACK, type SpoolRecord } from '../spool/format.ts';

/** Undefined: no reader of this version can make sense of it, though its checksum is right. It must not hold up the rest. */
export function decodeSpooled({ kind, body }: SpoolRecord): LogRecord | FeedbackRecord | undefined {
  try {
    return kind === FEEDBACK ? decodeFeedback(body) : decodeRecord(body);
  } catch {
    return undefined;
  }
}
