import type { RecordKind } from '../encode/container.ts';
import { decodeFeedback, decodeRecord } from '../encode/record-decoder.ts';
import type { FeedbackRecord, LogRecord } from '../record.ts';
import { FEEDBACK, type SpoolRecord } from '../spool/format.ts';

/** As topics, files and schemas name it. */
export function kindOf({ kind }: Pick<SpoolRecord, 'kind'>): RecordKind {
  return kind === FEEDBACK ? 'feedback' : 'inference';
}

/** Undefined: no reader of this version can make sense of it, though its checksum is right. It must not hold up the rest. */
export function decodeSpooled({ kind, u8, start, end }: SpoolRecord): LogRecord | FeedbackRecord | undefined {
  try {
    return kind === FEEDBACK ? decodeFeedback(u8, start, end) : decodeRecord(u8, start, end);
  } catch {
    return undefined;
  }
}
