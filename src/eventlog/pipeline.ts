import type { Redaction } from '../config/log-rule-schema.ts';
import { DROPPED_DISK, DROPPED_ENCODING, FEEDBACK as FEEDBACK_CAME, SPOOLED } from './counts.ts';
import { AvroWriter } from './encode/avro-writer.ts';
import { writeFeedback } from './encode/feedback-encoder.ts';
import type { RecordEncoder } from './encode/record-encoder.ts';
import type { Hash } from './encode/redact.ts';
import { redactFeedback } from './encode/redact-feedback.ts';
import type { RingReader, RingRequest } from './handover/ring-reader.ts';
import type { FeedbackRecord } from './record.ts';
import { FEEDBACK, HEADER_BYTES, INFERENCE, sealRecords } from './spool/format.ts';
import type { Spool } from './spool/spool.ts';

/** Taken from a ring in one go: what sinks wait while it is encoded. */
const ROUND_BYTES = 512 * 1024;
const FIRST_RECORDS = 1024;

/** The log thread's main line: rings → encoded and redacted records → spool. */
export class LogPipeline {
  private readonly rings: readonly RingReader[];
  private readonly encoder: RecordEncoder;
  private readonly spool: Spool;
  private readonly counts: Float64Array;
  private readonly hash: Hash;
  private readonly out = new AvroWriter();
  /** Of the records in `out`. */
  private ends = new Int32Array(FIRST_RECORDS);
  private count = 0;
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
      this.begin(FEEDBACK);
      writeFeedback(record, this.out);
      this.end();
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
      this.end();
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

  private end(): void {
    if (this.count === this.ends.length) {
      const grown = new Int32Array(2 * this.count);
      grown.set(this.ends);
      this.ends = grown;
    }
    this.ends[this.count++] = this.out.at;
  }

  /** What was encoded since the last time goes into the spool. */
  private commit(): number {
    const { out, count } = this;
    if (count === 0) return 0;
    sealRecords(out.u8, this.ends, count);
    // All of it is written: no zeros are needed.
    const chunk = new Uint8Array(Buffer.allocUnsafeSlow(out.at).buffer);
    chunk.set(out.u8.subarray(0, out.at));
    this.counts[this.spool.append(chunk, count) ? SPOOLED : DROPPED_DISK] += count;
    out.at = 0;
    this.count = 0;
    return count;
  }
}
