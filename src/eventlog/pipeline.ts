import type { Redaction } from '../config/log-rule-schema.ts';
import { DROPPED_DISK, DROPPED_ENCODING, FEEDBACK as FEEDBACK_CAME, SPOOLED } from './counts.ts';
import { AvroWriter } from './encode/avro-writer.ts';
import { writeFeedback } from './encode/feedback-encoder.ts';
import type { RecordEncoder } from './encode/record-encoder.ts';
import type { Hash } from './encode/redact.ts';
import { redactFeedback } from './encode/redact-feedback.ts';
import type { RingReader, RingRequest } from './handover/ring-reader.ts';
import type { FeedbackRecord } from './record.ts';
import { FEEDBACK, HEADER_BYTES, INFERENCE, sealRecord } from './spool/format.ts';
import type { Spool } from './spool/spool.ts';

/** Taken from a ring in one go: what sinks wait while it is encoded. */
const ROUND_BYTES = 512 * 1024;

/** The log thread's main line: rings → encoded and redacted records → spool. */
export class LogPipeline {
  private readonly rings: readonly RingReader[];
  private readonly encoder: RecordEncoder;
  private readonly spool: Spool;
  private readonly counts: Float64Array;
  private readonly hash: Hash;
  private readonly out = new AvroWriter();
  private readonly ends: number[] = [];
  private readonly take = (request: RingRequest): void => this.encode(request);

  /** @param counts see counts.ts */
  constructor(rings: readonly RingReader[], encoder: RecordEncoder, spool: Spool, counts: Float64Array, hash: Hash) {
    this.hash = hash;
    this.counts = counts;
    this.rings = rings;
    this.encoder = encoder;
    this.spool = spool;
  }

  /** One round over the rings. Returns how many records went on. */
  pump(): number {
    for (const ring of this.rings) ring.drain(this.take, ROUND_BYTES);
    return this.commit();
  }

  /** A record that came by message. */
  large(ring: number, record: ArrayBuffer): void {
    this.rings[ring].large(record, this.take);
    this.commit();
  }

  /** What the redactions of each leave of it. False: the spool refused them. */
  recordFeedback(given: readonly FeedbackRecord[], redactions: readonly (readonly Redaction[])[]): boolean {
    const { counts } = this;
    const records = given.map((record, i) => redactFeedback(record, redactions[i], this.hash));
    this.commit();
    for (const record of records) {
      const start = this.begin(FEEDBACK);
      writeFeedback(record, this.out);
      this.end(start);
    }
    counts[FEEDBACK_CAME] += records.length;
    const before = counts[DROPPED_DISK];
    this.commit();
    return counts[DROPPED_DISK] === before;
  }

  private encode(request: RingRequest): void {
    const start = this.begin(INFERENCE);
    try {
      this.encoder.encode(request, this.out);
      this.end(start);
    } catch {
      this.out.at = start;
      this.counts[DROPPED_ENCODING]++;
    }
  }

  private begin(kind: number): number {
    const { out } = this;
    const start = out.at;
    out.reserve(HEADER_BYTES + 1);
    out.at += HEADER_BYTES;
    out.byte(kind);
    return start;
  }

  private end(start: number): void {
    const { out } = this;
    sealRecord(out.u8, start, out.at);
    this.ends.push(out.at);
  }

  /** What was encoded since the last time goes into the spool. */
  private commit(): number {
    const { out, ends } = this;
    const count = ends.length;
    if (count === 0) return 0;
    this.counts[this.spool.append(out.u8.slice(0, out.at), count) ? SPOOLED : DROPPED_DISK] += count;
    out.at = 0;
    ends.length = 0;
    return count;
  }
}
