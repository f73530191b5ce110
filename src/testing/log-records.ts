import { type EventLogConfig, eventLogSchema } from '../config/event-log-schema.ts';
import { AvroWriter } from '../eventlog/encode/avro-writer.ts';
import { containerOf } from '../eventlog/encode/container.ts';
import { type KeepPayload, RecordEncoder } from '../eventlog/encode/record-encoder.ts';
import { hashWith } from '../eventlog/encode/redact.ts';
import { allocateRing, type RingMemory } from '../eventlog/handover/memory.ts';
import { RingReader } from '../eventlog/handover/ring-reader.ts';
import { LogTap } from '../eventlog/handover/tap.ts';
import type { FinishedRequest } from '../pipeline/routed/record.ts';
import type { ServingTable } from '../pipeline/types.ts';
import { fp32 } from './loopback.ts';

/** A finished request for 'iris', answered by version 1. */
export function finishedRequest(overrides: Partial<FinishedRequest> = {}): FinishedRequest {
  return {
    id: 'id-1',
    time: 1_700_000_000_123,
    request: {
      model: 'iris',
      version: '',
      id: 'client-7',
      inputs: [fp32('x', [1, 2], [1.5, -2])],
      outputs: [],
      parameters: undefined,
    },
    context: { protocol: 'http', tenant: 'default', receivedAt: 0, traceparent: '' },
    response: {
      model: 'iris',
      version: '1',
      id: 'client-7',
      outputs: [fp32('y', [1, 1], [0.25])],
      parameters: undefined,
      timings: undefined,
    },
    status: 'ok',
    latencyMs: 1.5,
    decision: undefined,
    shadow: '',
    ...overrides,
  };
}

export const IRIS_TABLE: ServingTable = {
  generation: 1,
  models: new Map([
    [
      'iris',
      {
        name: 'iris',
        versions: [{ version: '1', cacheIdentity: 'sha256:aa' } as never],
        index: [],
        onDemand: false,
      },
    ],
  ]),
};

/** A tap, its ring and the encoder behind it, in one thread. */
export class LogLoop {
  readonly memory: RingMemory;
  readonly tap: LogTap;
  reader: RingReader;
  readonly large: ArrayBuffer[] = [];
  readonly payloads: Uint8Array[] = [];
  private readonly encoder: RecordEncoder;

  constructor(
    settings: Partial<Pick<EventLogConfig, 'rule' | 'models'>> = {},
    options: { bytes?: number; random?: () => number; keep?: KeepPayload; table?: ServingTable } = {},
  ) {
    this.memory = allocateRing(options.bytes ?? 1024 * 1024);
    this.reader = new RingReader(this.memory);
    this.tap = new LogTap(
      this.memory,
      { ...eventLogSchema.parse({}), ...settings },
      {
        table: () => options.table ?? IRIS_TABLE,
        random: options.random ?? (() => 0.5),
        sendLarge: (record) => this.large.push(record),
      },
    );
    const keep: KeepPayload = (bytes) => {
      this.payloads.push(bytes);
      return { ref: `payload-${this.payloads.length}`, sha256: 'ff' };
    };
    this.encoder = new RecordEncoder(hashWith('salt'), options.keep ?? keep, (record) =>
      containerOf([{ u8: record, start: 0, end: record.length }], 'inference'),
    );
  }

  /** Encoded records of everything that waits. */
  take(): Uint8Array[] {
    const records: Uint8Array[] = [];
    const encode = (request: Parameters<Parameters<RingReader['drain']>[0]>[0]): void => {
      const writer = new AvroWriter();
      this.encoder.encode(request, writer);
      records.push(writer.u8.slice(0, writer.at));
    };
    this.reader.drain(encode, Number.POSITIVE_INFINITY);
    for (const record of this.large.splice(0)) this.reader.large(record, encode);
    return records;
  }
}
