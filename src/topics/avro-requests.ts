import type { SchemaRegistry } from '@kafkajs/confluent-schema-registry';
import type { AvroTopicConfig } from '../config/kafka-schema.ts';
import type { InferRequest, InferResponse } from '../pipeline/types.ts';
import { decodeInferRequest } from '../protocol/v2/infer-decoder.ts';
import { invalidArgument, SwitchyardError } from '../shared/errors.ts';
import { decodeBytes, encodeBytes } from '../tensor/bytes.ts';
import { numberReader } from '../tensor/elements.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { typedView } from '../tensor/views.ts';

/** A zero, and four bytes of the schema's id. */
const FRAME_BYTES = 5;
const REGISTRY_RETRY_MS = 1000;

/** An answer as Avro: integers are longs, other numbers doubles, BYTES bytes. */
const ANSWER_SCHEMA = JSON.stringify({
  type: 'record',
  name: 'InferenceResponse',
  namespace: 'switchyard',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'model', type: 'string' },
    { name: 'version', type: 'string' },
    {
      name: 'outputs',
      type: {
        type: 'array',
        items: {
          type: 'record',
          name: 'Output',
          fields: [
            { name: 'name', type: 'string' },
            { name: 'datatype', type: 'string' },
            { name: 'shape', type: { type: 'array', items: 'long' } },
            { name: 'booleans', type: ['null', { type: 'array', items: 'boolean' }], default: null },
            { name: 'longs', type: ['null', { type: 'array', items: 'long' }], default: null },
            { name: 'doubles', type: ['null', { type: 'array', items: 'double' }], default: null },
            { name: 'bytes', type: ['null', { type: 'array', items: 'bytes' }], default: null },
          ],
        },
      },
    },
  ],
});

/** Confluent's framing. JSON never begins so. */
export function isFramed(value: Buffer): boolean {
  return value[0] === 0;
}

/** Requests and answers of a topic as Avro, with the schemas of a registry. */
export class AvroRequests {
  private readonly config: AvroTopicConfig;
  private readonly subject: string;
  private opened: Promise<SchemaRegistry> | undefined;
  private answerId: Promise<number> | undefined;

  /** @param results the topic of answers, as the brokers know it */
  constructor(config: AvroTopicConfig, results: string) {
    this.config = config;
    this.subject = `${results}-value`;
  }

  /** Rejects with invalid_argument for what is no such request, and with unavailable while the registry is away. */
  async request(model: string, version: string, value: Buffer): Promise<InferRequest> {
    if (value.length < FRAME_BYTES)
      throw invalidArgument(`the record has ${value.length} bytes, and its frame alone ${FRAME_BYTES}`);
    const id = value.readInt32BE(1);
    const registry = await this.registry();
    let schema: Awaited<ReturnType<SchemaRegistry['getSchema']>>;
    try {
      schema = await registry.getSchema(id);
    } catch (error) {
      const { status, message } = error as { status?: number; message: string };
      if (status === 404) throw invalidArgument(`the schema registry has no schema ${id}: ${message}`);
      throw away(error as Error);
    }
    let record: unknown;
    try {
      record = schema.fromBuffer(value.subarray(FRAME_BYTES));
    } catch (error) {
      throw invalidArgument(`the record does not fit its schema ${id}: ${(error as Error).message}`);
    }
    return requestOf(this.config, record, model, version);
  }

  /** Asks for what answers need, so that no model is asked in vain. Rejects with unavailable while the registry is away. */
  async prepare(): Promise<void> {
    if (this.config.answers !== 'avro') return;
    const registry = await this.registry();
    this.answerId ??= this.register(registry).catch((error: unknown) => {
      this.answerId = undefined;
      throw away(error as Error);
    });
    await this.answerId;
  }

  /** Frames what `answerOf` made, after `prepare`. */
  async frame(answer: object): Promise<Buffer> {
    const registry = await this.registry();
    return registry.encode(await (this.answerId as Promise<number>), answer);
  }

  private async register(registry: SchemaRegistry): Promise<number> {
    const { SchemaType } = await import('@kafkajs/confluent-schema-registry');
    const { id } = await registry.register({ type: SchemaType.AVRO, schema: ANSWER_SCHEMA }, { subject: this.subject });
    return id;
  }

  private registry(): Promise<SchemaRegistry> {
    this.opened ??= openRegistry(this.config.schemaRegistry);
    return this.opened;
  }
}

async function openRegistry(host: string): Promise<SchemaRegistry> {
  const [{ SchemaRegistry, SchemaType }, { default: avro }] = await Promise.all([
    import('@kafkajs/confluent-schema-registry'),
    import('avsc'),
  ]);
  // Longs keep their digits.
  const long = avro.types.LongType.__with({
    fromBuffer: (bytes: Buffer) => narrow(bytes.readBigInt64LE()),
    toBuffer: (value: number | bigint) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigInt64LE(BigInt(value));
      return bytes;
    },
    fromJSON: (value: number) => value,
    toJSON: (value: number | bigint) => Number(value),
    isValid: (value: unknown) => typeof value === 'bigint' || Number.isSafeInteger(value),
    compare: (a: number | bigint, b: number | bigint) => (a < b ? -1 : a > b ? 1 : 0),
  });
  const typeHook = (schema: unknown) =>
    schema === 'long' || (schema as { type?: unknown } | null)?.type === 'long' ? long : undefined;
  return new SchemaRegistry({ host, retry: { retries: 0 } }, { [SchemaType.AVRO]: { typeHook } });
}

function narrow(value: bigint): number | bigint {
  const near = Number(value);
  return Number.isSafeInteger(near) ? near : value;
}

function away(cause: Error): SwitchyardError {
  return new SwitchyardError('unavailable', `the schema registry cannot be used: ${cause.message}`, {
    retryAfterMs: REGISTRY_RETRY_MS,
    cause,
  });
}

/**
 * The request that a record's fields make, through the v2 decoder and so with all of its checks: floats and BYTES behind
 * the JSON, as its binary extension has them. Throws invalid_argument naming the field.
 */
export function requestOf(config: AvroTopicConfig, record: unknown, model: string, version: string): InferRequest {
  const heads: string[] = [];
  const blobs: Uint8Array[] = [];
  for (const [name, { fields, datatype, shape }] of Object.entries(config.inputs)) {
    const values = fields.flatMap((field) => valuesOf(record, field));
    const head = `"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":${JSON.stringify(shape ?? [1, values.length])}`;
    const blob = blobOf(datatype, values, name);
    if (blob === undefined) heads.push(`{${head},"data":[${values.map((value) => elementText(value, name)).join()}]}`);
    else {
      heads.push(`{${head},"parameters":{"binary_data_size":${blob.length}}}`);
      blobs.push(blob);
    }
  }
  const id = config.id === undefined ? '' : valuesOf(record, config.id).map(String).join();
  const json = Buffer.from(`{"id":${JSON.stringify(id)},"inputs":[${heads.join()}]}`);
  return decodeInferRequest(model, version, Buffer.concat([json, ...blobs]), blobs.length === 0 ? -1 : json.length);
}

/** The values of a field: one, or all of a list, or of lists in it. */
function valuesOf(record: unknown, field: string): unknown[] {
  let value = record;
  for (const name of field.split('.')) {
    if (typeof value !== 'object' || value === null || !(name in value))
      throw invalidArgument(
        `the record has no field ${JSON.stringify(field)}; correct kafka.inference.avro.inputs, or the record`,
      );
    value = (value as Record<string, unknown>)[name];
  }
  return Array.isArray(value) ? value.flat(Number.POSITIVE_INFINITY) : [value];
}

/** Undefined: values of this type go as JSON. Missing ones are NaN, where the type has it. */
function blobOf(datatype: string, values: readonly unknown[], name: string): Uint8Array | undefined {
  if (datatype === 'BYTES')
    return encodeBytes(
      values.map((value) => {
        if (typeof value === 'string' || value instanceof Uint8Array) return value;
        throw invalidArgument(`input '${name}' takes texts and bytes, not ${shown(value)}`);
      }),
    );
  if (datatype !== 'FP32' && datatype !== 'FP64') return undefined;
  const numbers = values.map((value) => {
    if (value === null) return Number.NaN;
    if (typeof value === 'number' || typeof value === 'bigint') return Number(value);
    throw invalidArgument(`input '${name}' takes numbers, not ${shown(value)}`);
  });
  const array = datatype === 'FP32' ? Float32Array.from(numbers) : Float64Array.from(numbers);
  return new Uint8Array(array.buffer);
}

function elementText(value: unknown, name: string): string {
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  throw invalidArgument(`input '${name}' takes whole numbers or booleans, not ${shown(value)}`);
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? typeof value).slice(0, 80);
}

/** An answer as its schema has it; copies what tensors hold. */
export function answerOf(response: InferResponse, request: InferRequest): object {
  return {
    id: response.id === '' ? request.id : response.id,
    model: response.model,
    version: response.version,
    outputs: response.outputs.map(outputOf),
  };
}

function outputOf(tensor: Tensor): object {
  const { name, datatype, shape, data } = tensor;
  const head = { name, datatype, shape };
  if (datatype === 'BYTES') return { ...head, bytes: decodeBytes(data).map((bytes) => Buffer.from(bytes)) };
  const count = shape.reduce((product, dim) => product * dim, 1);
  const number = numberReader(tensor) as (i: number) => number;
  if (datatype === 'BOOL') return { ...head, booleans: Array.from({ length: count }, (_, i) => number(i) === 1) };
  if (/^U?INT/.test(datatype))
    return { ...head, longs: Array.from(typedView(datatype, data) as ArrayLike<number | bigint>) };
  return { ...head, doubles: Array.from({ length: count }, (_, i) => number(i)) };
}
