import type { KafkaMessage } from 'kafkajs';
import type { Timings } from '../pipeline/types.ts';
import type { DataType } from '../tensor/tensor.ts';

/** The version of the record's shape, as consumers see it in `schemaVersion`. */
export const SCHEMA_VERSION = 2;

/** The header of Kafka's messages that a replay sent once more: its mark. */
export const REPLAYED_HEADER = 'ce_replayed';

/** Whether the message was sent once more: what is counted or learnt from has had it. */
export function isReplayed(headers: KafkaMessage['headers']): boolean {
  return headers?.[REPLAYED_HEADER] !== undefined;
}

/** The topic of a model's records, without the prefix: Kafka allows letters, digits, "_", "." and "-". */
export function topicOf(model: string, kind: 'inference' | 'feedback'): string {
  const part = model === '' ? 'unmatched' : model.replace(/[^\w.-]/g, '_').slice(0, 200);
  return `${part}.${kind}`;
}

/** What a record says whose values were to be kept by reference, and could not be. */
export const PAYLOAD_NOT_KEPT = 'payload: not kept, the disk refused it';

/** Its values lie apart, or were too many to be kept: nobody can tell from it what was asked. */
export function isWithoutValues({ payloadRef, redactions }: LogRecord): boolean {
  return payloadRef !== undefined || redactions.includes(PAYLOAD_NOT_KEPT);
}

export type ColumnArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

/** A named typed column of one request: what a model was asked, or said. Values are row-major and flat. */
export interface Column {
  name: string;
  datatype: DataType;
  shape: number[];
  /** Empty where a redaction took them, or where the payload is kept by reference. FP16 and BF16 come as numbers. */
  values: readonly (number | bigint | boolean | string | null)[] | ColumnArray;
}

/** What the gateway itself added, such as `switchyard.anomalies`: no input of the model. */
export function isOwnColumn({ name }: Pick<Column, 'name'>): boolean {
  return name.startsWith('switchyard.');
}

/** Its values were taken out, or lie apart: none are here of the many that its shape tells. */
export function isWithheld({ values, shape }: Column): boolean {
  return values.length === 0 && shape.every((dim) => dim > 0);
}

/** One request, from its first byte to its end: what was asked, who answered, why, and what came of it. */
export interface LogRecord {
  /** Stable and unique: consumers deduplicate by it, labels and rewards refer to it. */
  id: string;
  /** Milliseconds since 1970. */
  time: number;
  /** '' = no route matched. Then variant, assigned, role and detour are '' too. */
  route: string;
  /** The variant that answered. */
  variant: string;
  assigned: string;
  shadow: boolean;
  model: string;
  /** '' = no version was reached. */
  version: string;
  /** The version by content. */
  digest: string;
  requestedModel: string;
  tenant: string;
  protocol: string;
  /** The client's own id of the request. */
  requestId: string;
  traceparent: string;
  /** 'ok', or a code of the error table. */
  status: string;
  latencyMs: number;
  timings?: Timings;
  /** Probability with which this record was kept: weigh by its inverse. */
  sampleRate: number;
  /** Probability with which `assigned` was drawn; 1 without a route. */
  propensity: number;
  pmf: number[];
  eligible: string[];
  stateVersion: number;
  snapshotVersion: number;
  role: string;
  analysed: boolean;
  detour: string;
  /** What the request is about, as the settings name it; '' = none. */
  entity: string;
  features: Column[];
  predictions: Column[];
  /** Where the columns' values lie when they are too large for a record. */
  payloadRef?: string;
  payloadSha256?: string;
  schemaVersion: number;
  /** What was taken out, as 'field: action'. */
  redactions: string[];
  /** Index of the route's override that decided; −1: none. */
  override: number;
  /** Of the unit; −1: no bucket was involved. */
  bucket: number;
  /** Attempts that failed before the one that counts. */
  fallbacks: { variant: string; cause: string }[];
  /** A bandit in apprentice mode: what it would have served, drawn from its distribution over the variants. */
  proposed?: { variant: string; pmf: number[] };
  /** Contextual bandits: the hashed features that a reward is learnt with. Empty otherwise. */
  context: number[];
}

/** A label or a reward that came later, for the record with the same id. */
export interface FeedbackRecord {
  id: string;
  /** Milliseconds since 1970. */
  time: number;
  /** '' where the record's is not known here. */
  route: string;
  model: string;
  rewards: Record<string, number>;
  /** What was right, where the client told: JSON. */
  label?: string;
  /** The event's own id, the client's or drawn: one that comes again has the same. Older records have none. */
  event?: string;
  /** Who sent it: it says something of this tenant's requests alone. '' = of everyone's; older records have none. */
  tenant: string;
}

/** What a message of the event log's topics holds, in whichever form. Throws for what is none. */
export interface MessageReader {
  records(message: Pick<KafkaMessage, 'headers' | 'value'>): LogRecord[];
  feedback(message: Pick<KafkaMessage, 'headers' | 'value'>): FeedbackRecord[];
  /** Of events as POST /switchyard/v1/feedback takes them. Throws where one is none. */
  events(events: readonly unknown[], time: number): FeedbackRecord[];
}
