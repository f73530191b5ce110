import type { KafkaSinkConfig } from '../../config/event-log-schema.ts';
import { sagemakerLine } from '../encode/json.ts';
import type { RecordHead } from '../encode/record-decoder.ts';
import { runsOf, type SpoolRecord } from '../spool/format.ts';
import { decodeSpooled } from './decode.ts';
import { eventId, headOf, type RecordGroup, type Sized } from './kafka-blocks.ts';
import { RecordLines } from './record-lines.ts';

const LINE_END = 0x0a;
/** Of callers without credentials. */
const DEFAULT_TENANT = 'default';

/**
 * The entity, else the id, which is nobody else's anyway. Two tenants' entities of one name have different keys, so that
 * neither takes the other's place in a compacted topic: they stand behind the tenant, those of the default one only where
 * they would look like another's.
 */
export function messageKey({ entity, id, tenant }: Pick<RecordHead, 'entity' | 'id' | 'tenant'>): string {
  if (entity === '') return id;
  const alone = tenant === '' || tenant === DEFAULT_TENANT;
  return alone && !entity.includes('/') ? entity : `${encodeURIComponent(tenant)}/${entity}`;
}

/** Records as messages, one of each: the `record` layout. */
export class RecordMessages {
  private readonly format: KafkaSinkConfig['format'];
  private readonly source: string;
  private readonly lines = new RecordLines();
  private known = { second: Number.NaN, text: '' };

  constructor(format: KafkaSinkConfig['format'], source: string) {
    this.format = format;
    this.source = source;
  }

  /** `refused`: cannot be read, or the format has no form for them. @param schemaId of the registry, for Avro */
  of({ kind, records }: RecordGroup, schemaId: number): { list: Sized[]; refused: number } {
    const values = this.valuesOf(records, schemaId);
    const type = `dev.switchyard.${kind}`;
    const list: Sized[] = [];
    for (let i = 0; i < records.length; i++) {
      const head = headOf(records[i]);
      const value = values[i];
      if (head === undefined || value === undefined) continue;
      const message = {
        key: messageKey(head),
        value,
        timestamp: String(head.time),
        headers: this.headersOf(head, type),
      };
      list.push({ message, records: [records[i]] });
    }
    return { list, refused: records.length - list.length };
  }

  private valuesOf(records: readonly SpoolRecord[], schemaId: number): readonly (Buffer | undefined)[] {
    if (this.format === 'json') return this.jsonOf(records);
    return records.map((record) => (this.format === 'avro' ? framed(record, schemaId) : captured(record)));
  }

  /** Printed together: neighbours have much in common. */
  private jsonOf(records: readonly SpoolRecord[]): readonly (Buffer | undefined)[] {
    const { lines } = this;
    lines.clear();
    const refused = runsOf(records).reduce((sum, run) => sum + lines.add(run), 0);
    if (refused > 0 && records.length > 1) return records.flatMap((record) => this.jsonOf([record]));
    // A copy, as messages are kept until the broker has them, and the lines' buffer is used again.
    return refused > 0 ? [undefined] : textsOf(Buffer.from(lines.bytes));
  }

  /** CloudEvents in binary mode. */
  private headersOf(head: RecordHead, type: string): Record<string, string> {
    const headers: Record<string, string> = {
      ce_specversion: '1.0',
      ce_id: eventId(head),
      ce_source: this.source,
      ce_type: type,
      ce_time: this.timeText(head.time),
      'content-type': this.format === 'avro' ? 'application/avro' : 'application/json',
    };
    if (head.model !== '') headers.ce_subject = head.model;
    if (head.traceparent !== '') headers.traceparent = head.traceparent;
    return headers;
  }

  /** As toISOString() prints it, which is only asked once a second. */
  private timeText(time: number): string {
    const second = Math.floor(time / 1000);
    if (second !== this.known.second) this.known = { second, text: new Date(1000 * second).toISOString().slice(0, -4) };
    return `${this.known.text}${String(time - 1000 * second).padStart(3, '0')}Z`;
  }
}

/** Each line without its end. */
function textsOf(lines: Buffer): Buffer[] {
  const texts: Buffer[] = [];
  for (let from = 0; from < lines.length; ) {
    const end = lines.indexOf(LINE_END, from);
    texts.push(lines.subarray(from, end));
    from = end + 1;
  }
  return texts;
}

/** In Confluent's framing: a zero, the schema's id, the record. */
function framed({ body }: SpoolRecord, schemaId: number): Buffer {
  const value = Buffer.allocUnsafe(5 + body.length);
  value[0] = 0;
  value.writeInt32BE(schemaId, 1);
  value.set(body, 5);
  return value;
}

/** SageMaker's line. Feedback has none. */
function captured(spooled: SpoolRecord): Buffer | undefined {
  const record = decodeSpooled(spooled);
  return record !== undefined && 'features' in record ? Buffer.from(sagemakerLine(record)) : undefined;
}
