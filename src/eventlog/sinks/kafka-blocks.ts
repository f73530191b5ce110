import type { Message } from 'kafkajs';
import { containerOf, type RecordKind } from '../encode/container.ts';
import { completeFeedback, type RecordHead, readHead } from '../encode/record-decoder.ts';
import { findModel, type ModelPlace } from '../encode/record-scan.ts';
import { FEEDBACK, SpoolRecord } from '../spool/format.ts';
import { kindOf } from './decode.ts';

/** Records of one kind about one model, in their order. */
export interface RecordGroup {
  kind: RecordKind;
  model: string;
  records: SpoolRecord[];
}

/** Groups records by what decides the topic, reading no more of them. `refused`: cannot be read. */
export function groupRecords(records: readonly SpoolRecord[]): { groups: RecordGroup[]; refused: number } {
  const groups = new Map<string, RecordGroup>();
  const place: ModelPlace = { from: 0, to: 0 };
  let refused = 0;
  // Neighbours are mostly about the same model: their bytes are compared before any text is made.
  let last: RecordGroup | undefined;
  let lastKind = -1;
  let lastBytes = new Uint8Array(0);
  for (const spooled of records) {
    const record = spooled.kind === FEEDBACK ? completed(spooled) : spooled;
    if (record === undefined) {
      refused++;
      continue;
    }
    const { kind, u8, start, end } = record;
    findModel(u8, start, kind === FEEDBACK, place);
    if (place.to > end) {
      refused++;
      continue;
    }
    if (last === undefined || kind !== lastKind || !isSame(lastBytes, u8, place)) {
      const name = kindOf(record);
      const model = headOf(record)?.model;
      if (model === undefined) {
        refused++;
        continue;
      }
      const key = `${name} ${model}`;
      last = groups.get(key) ?? { kind: name, model, records: [] };
      groups.set(key, last);
      lastKind = kind;
      lastBytes = u8.slice(place.from, place.to);
    }
    last.records.push(record);
  }
  return { groups: [...groups.values()], refused };
}

/** Undefined: it cannot be read. */
export function headOf({ kind, u8, start, end }: SpoolRecord): RecordHead | undefined {
  try {
    return readHead(u8, kind === FEEDBACK, start, end);
  } catch {
    return undefined;
  }
}

/** CloudEvents' id: a request's own; of what was told about it later, also the event's. */
export function eventId({ id, event }: Pick<RecordHead, 'id' | 'event'>): string {
  return event === '' ? id : `${id}/${event}`;
}

/** Feedback as the schema has it now. Undefined: it cannot be read. */
function completed(record: SpoolRecord): SpoolRecord | undefined {
  const { kind, u8, start, end } = record;
  try {
    const whole = completeFeedback(u8, start, end);
    return whole === undefined ? record : new SpoolRecord(kind, whole, 0, whole.length);
  } catch {
    return undefined;
  }
}

function isSame(known: Uint8Array, u8: Uint8Array, { from, to }: ModelPlace): boolean {
  if (known.length !== to - from) return false;
  for (let i = 0; i < known.length; i++) if (known[i] !== u8[from + i]) return false;
  return true;
}

/** A message, and the records that it has. */
export interface Sized {
  message: Message;
  records: readonly SpoolRecord[];
}

/** Container files of a group's records, each small enough for a message. */
export function blocks({ kind, records }: RecordGroup, maxBytes: number, source: string): Sized[] {
  const messages: Sized[] = [];
  let from = 0;
  let bytes = 0;
  const close = (to: number): void => {
    if (from === to) return;
    const head = headOf(records[from]);
    const message = {
      key: null,
      value: containerOf(records, kind, from, to),
      headers: {
        ce_specversion: '1.0',
        ce_id: head === undefined ? '' : eventId(head),
        ce_source: source,
        ce_type: `dev.switchyard.${kind}.block`,
        'content-type': 'application/vnd.apache.avro',
        'switchyard-records': String(to - from),
      },
    };
    messages.push({ message, records: records.slice(from, to) });
    from = to;
    bytes = 0;
  };
  records.forEach(({ start, end }, i) => {
    if (bytes + end - start > maxBytes) close(i);
    bytes += end - start;
  });
  close(records.length);
  return messages;
}
