import type { FeedbackRecord } from '../record.ts';
import type { AvroWriter } from './avro-writer.ts';

/** In the order of FEEDBACK_SCHEMA, which begins as INFERENCE_SCHEMA does. */
export function writeFeedback(record: FeedbackRecord, out: AvroWriter): void {
  out.string(record.id);
  out.long(record.time);
  // Feedback is about a record: its key is that record's id.
  for (let i = 0; i < 3; i++) out.byte(0);
  out.string(record.route);
  out.string(record.model);
  const rewards = Object.entries(record.rewards);
  if (rewards.length > 0) out.long(rewards.length);
  for (const [name, value] of rewards) {
    out.string(name);
    out.double(value);
  }
  out.byte(0);
  optional(record.label, out);
  optional(record.event, out);
  out.string(record.tenant);
}

function optional(text: string | undefined, out: AvroWriter): void {
  out.byte(text === undefined ? 0 : 2);
  if (text !== undefined) out.string(text);
}
