import type { DataType } from '../../tensor/tensor.ts';
import type { Column, FeedbackRecord, LogRecord } from '../record.ts';
import { AvroReader, type KnownText } from './avro-reader.ts';

const unknown = (): KnownText => ({ bytes: new Uint8Array(0), text: '' });
/** What neighbours mostly share, by place: route … detour and status; names and datatypes of the first columns. */
const sharedTexts = Array.from({ length: 12 }, unknown);
const columnTexts = Array.from({ length: 64 }, unknown);

/** Reads what RecordEncoder wrote. Throws RangeError for bytes that are no such record. */
export function decodeRecord(bytes: Uint8Array, start: number = 0, end: number = bytes.length): LogRecord {
  return readRecord(new AvroReader(bytes, start, end));
}

/** The record at which a reader stands. */
export function readRecord(reader: AvroReader): LogRecord {
  const text = (): string => reader.string();
  let place = 0;
  const shared = (): string => reader.known(sharedTexts[place++]);
  let columns = 0;
  const column = (): Column => readColumn(reader, columns++);
  const record: Omit<LogRecord, keyof typeof NO_REASONS> = {
    id: text(),
    time: reader.long(),
    entity: text(),
    requestId: text(),
    traceparent: text(),
    route: shared(),
    variant: shared(),
    assigned: shared(),
    model: shared(),
    version: shared(),
    digest: shared(),
    requestedModel: shared(),
    tenant: shared(),
    protocol: shared(),
    role: shared(),
    detour: shared(),
    shadow: reader.byte() !== 0,
    analysed: reader.byte() !== 0,
    sampleRate: reader.double(),
    schemaVersion: reader.long(),
    status: shared(),
    latencyMs: reader.double(),
    ...(reader.byte() === 0 ? {} : { timings: readTimings(reader) }),
    propensity: reader.double(),
    stateVersion: reader.long(),
    snapshotVersion: reader.long(),
    pmf: list(reader, () => reader.double()),
    eligible: list(reader, text),
    ...(reader.byte() === 0 ? {} : { payloadRef: text() }),
    ...(reader.byte() === 0 ? {} : { payloadSha256: text() }),
    features: list(reader, column),
    predictions: list(reader, column),
    redactions: list(reader, text),
  };
  // The spool may hold records of an earlier version yet.
  return Object.assign(record, record.schemaVersion < 2 ? NO_REASONS : readReasons(reader));
}

/** How it was decided, beyond what version 1 said. */
const NO_REASONS: Pick<LogRecord, 'override' | 'bucket' | 'fallbacks' | 'context'> = {
  override: -1,
  bucket: -1,
  fallbacks: [],
  context: [],
};

function readReasons(reader: AvroReader): typeof NO_REASONS & Pick<LogRecord, 'proposed'> {
  return {
    override: reader.long(),
    bucket: reader.long(),
    fallbacks: list(reader, () => ({ variant: reader.string(), cause: reader.string() })),
    ...(reader.byte() === 0
      ? {}
      : { proposed: { variant: reader.string(), pmf: list(reader, () => reader.double()) } }),
    context: list(reader, () => reader.double()),
  };
}

export function decodeFeedback(bytes: Uint8Array, start: number = 0, end: number = bytes.length): FeedbackRecord {
  return readFeedbackRecord(new AvroReader(bytes, start, end));
}

/** The feedback at which a reader stands. An earlier version of the program ended it with its label, or with the event's id. */
export function readFeedbackRecord(reader: AvroReader): FeedbackRecord {
  const record = readUpToEvent(reader);
  const event = reader.ended || reader.byte() === 0 ? {} : { event: reader.string() };
  return { ...record, ...event, tenant: reader.ended ? '' : reader.string() };
}

/**
 * Feedback as FEEDBACK_SCHEMA has it, of one that an earlier version of the program has spooled. Undefined: it is whole as
 * it is. Throws RangeError for bytes that are no such record.
 */
export function completeFeedback(u8: Uint8Array, start: number, end: number): Uint8Array | undefined {
  const reader = new AvroReader(u8, start, end);
  readUpToEvent(reader);
  let missing = 0;
  if (reader.ended) missing = 2;
  else {
    if (reader.byte() !== 0) reader.skipBytes();
    if (!reader.ended) return undefined;
    missing = 1;
  }
  // No id and no tenant are a zero each.
  const whole = new Uint8Array(end - start + missing);
  whole.set(u8.subarray(start, end));
  return whole;
}

function readUpToEvent(reader: AvroReader): Omit<FeedbackRecord, 'event' | 'tenant'> {
  const id = reader.string();
  const time = reader.long();
  for (let i = 0; i < 3; i++) reader.skipBytes();
  const route = reader.string();
  const model = reader.string();
  const rewards: Record<string, number> = Object.create(null);
  reader.array((count) => {
    for (let i = 0; i < count; i++) rewards[reader.string()] = reader.double();
  });
  return { id, time, route, model, rewards, ...(reader.byte() === 0 ? {} : { label: reader.string() }) };
}

/** What sinks need of a record without reading all of it. Both kinds begin alike. */
export interface RecordHead {
  id: string;
  time: number;
  entity: string;
  traceparent: string;
  model: string;
  tenant: string;
  /** Of feedback: the event's own id; '' where there is none. */
  event: string;
}

export function readHead(
  bytes: Uint8Array,
  feedback: boolean,
  start: number = 0,
  end: number = bytes.length,
): RecordHead {
  const reader = new AvroReader(bytes, start, end);
  const id = reader.string();
  const time = reader.long();
  const entity = reader.string();
  reader.skipBytes();
  const traceparent = reader.string();
  for (let i = feedback ? 1 : 3; i > 0; i--) reader.skipBytes();
  const model = reader.string();
  if (feedback) {
    const { event = '', tenant } = decodeFeedback(bytes, start, end);
    return { id, time, entity, traceparent, model, tenant, event };
  }
  for (let i = 0; i < 3; i++) reader.skipBytes();
  return { id, time, entity, traceparent, model, tenant: reader.string(), event: '' };
}

function readTimings(reader: AvroReader): NonNullable<LogRecord['timings']> {
  return {
    queue: reader.double(),
    computeInput: reader.double(),
    computeInfer: reader.double(),
    computeOutput: reader.double(),
    batchSize: reader.double(),
  };
}

function list<T>(reader: AvroReader, read: () => T): T[] {
  const items: T[] = [];
  reader.array((count) => {
    for (let i = 0; i < count; i++) items.push(read());
  });
  return items;
}

function readColumn(reader: AvroReader, number: number): Column {
  const known = 2 * number < columnTexts.length;
  const name = known ? reader.known(columnTexts[2 * number]) : reader.string();
  const datatype = (known ? reader.known(columnTexts[2 * number + 1]) : reader.string()) as DataType;
  const shape = list(reader, () => reader.long());
  let values: Column['values'] = [];
  if (reader.byte() !== 0) reader.array((count) => (values = new Float32Array(reader.fixed(count, 4))));
  if (reader.byte() !== 0) reader.array((count) => (values = new Float64Array(reader.fixed(count, 8))));
  if (reader.byte() !== 0) values = readLongs(reader, datatype);
  if (reader.byte() !== 0) values = list(reader, () => reader.byte() !== 0);
  if (reader.byte() !== 0) values = list(reader, () => reader.string());
  if (reader.byte() !== 0) values = list(reader, () => reader.bytes().toString('base64'));
  return { name, datatype, shape, values };
}

function readLongs(reader: AvroReader, datatype: DataType): Column['values'] {
  if (datatype === 'INT64') return BigInt64Array.from(list(reader, () => reader.bigLong()));
  if (datatype === 'UINT64') return BigUint64Array.from(list(reader, () => BigInt.asUintN(64, reader.bigLong())));
  const numbers = list(reader, () => reader.long());
  switch (datatype) {
    case 'INT8':
      return Int8Array.from(numbers);
    case 'UINT8':
      return Uint8Array.from(numbers);
    case 'INT16':
      return Int16Array.from(numbers);
    case 'UINT16':
      return Uint16Array.from(numbers);
    case 'UINT32':
      return Uint32Array.from(numbers);
    default:
      return Int32Array.from(numbers);
  }
}
