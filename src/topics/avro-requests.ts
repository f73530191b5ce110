import type { SchemaRegistry } from '@kafkajs/confluent-schema-registry';
import type { AvroTopicConfig } from '../config/kafka-schema.ts';
import { AvroValues, registryAway } from '../kafka/avro-values.ts';
import type { InferRequest, InferResponse } from '../pipeline/types.ts';
import { decodeInferRequest } from '../protocol/v2/infer-decoder.ts';
import { invalidArgument } from '../shared/errors.ts';
import { decodeBytes, encodeBytes } from '../tensor/bytes.ts';
import { numberReader } from '../tensor/elements.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { typedView } from '../tensor/views.ts';

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

/** Requests and answers of a topic as Avro, with the schemas of a registry. */
export class AvroRequests {
  private readonly config: AvroTopicConfig;
  private readonly subject: string;
  private readonly values: AvroValues;
  private answerId: Promise<number> | undefined;

  /** @param results the topic of answers, as the brokers know it */
  constructor(config: AvroTopicConfig, results: string) {
    this.config = config;
    this.values = new AvroValues(config.schemaRegistry, false);
    this.subject = `${results}-value`;
  }

  /** Rejects with invalid_argument for what is no such request, and with unavailable while the registry is away. */
  async request(model: string, version: string, value: Buffer): Promise<InferRequest> {
    return requestOf(this.config, await this.values.read(value), model, version);
  }

  /** Asks for what answers need, so that no model is asked in vain. Rejects with unavailable while the registry is away. */
  async prepare(): Promise<void> {
    if (this.config.answers !== 'avro') return;
    const registry = await this.values.registry();
    this.answerId ??= this.register(registry).catch((error: unknown) => {
      this.answerId = undefined;
      throw registryAway(error as Error);
    });
    await this.answerId;
  }

  /** Frames what `answerOf` made, after `prepare`. */
  async frame(answer: object): Promise<Buffer> {
    const registry = await this.values.registry();
    return registry.encode(await (this.answerId as Promise<number>), answer);
  }

  private async register(registry: SchemaRegistry): Promise<number> {
    const { SchemaType } = await import('@kafkajs/confluent-schema-registry');
    const { id } = await registry.register({ type: SchemaType.AVRO, schema: ANSWER_SCHEMA }, { subject: this.subject });
    return id;
  }
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
