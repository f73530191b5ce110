import assert from 'node:assert/strict';
import { Client, type ClientOptions, credentials, type Metadata, type ServiceError } from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/proto-loader';

/** A dynamic grpc-js client of one service for tests: `unary` promises, `bidi` gives the raw stream. */
export class TestClient {
  readonly client: Client;
  private readonly definition: ServiceDefinition;

  constructor(
    port: number,
    definition: ServiceDefinition,
    options: ClientOptions = {},
    creds = credentials.createInsecure(),
  ) {
    this.definition = definition;
    this.client = new Client(`localhost:${port}`, creds, options);
  }

  unary<T = Record<string, unknown>>(
    name: string,
    request: object,
    options: { metadata?: Metadata; deadline?: Date } = {},
  ): Promise<T> {
    const method = this.definition[name];
    return new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, value?: T): void =>
        error === null ? resolve(value as T) : reject(error);
      const callOptions = options.deadline === undefined ? {} : { deadline: options.deadline };
      const serialize = method.requestSerialize as (value: object) => Buffer;
      const deserialize = method.responseDeserialize as unknown as (bytes: Buffer) => T;
      if (options.metadata === undefined)
        this.client.makeUnaryRequest(method.path, serialize, deserialize, request, callOptions, done);
      else
        this.client.makeUnaryRequest(method.path, serialize, deserialize, request, options.metadata, callOptions, done);
    });
  }

  /** `responses`: the method whose responses it answers with. */
  bidi<T = Record<string, unknown>>(name: string, responses = name) {
    const method = this.definition[name];
    return this.client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize as (value: object) => Buffer,
      this.definition[responses].responseDeserialize as unknown as (bytes: Buffer) => T,
    );
  }

  serverStream<T = Record<string, unknown>>(name: string, request: object) {
    const method = this.definition[name];
    return this.client.makeServerStreamRequest(
      method.path,
      method.requestSerialize as (value: object) => Buffer,
      method.responseDeserialize as unknown as (bytes: Buffer) => T,
      request,
    );
  }

  close(): void {
    this.client.close();
  }
}

/** Message limit of the servers under test. */
export const MAX_MESSAGE = 32 << 20;

export interface InferResponse {
  model_name: string;
  id: string;
  parameters: Record<string, Record<string, unknown>>;
  outputs: { name: string; datatype: string; shape: string[] }[];
  raw_output_contents: Buffer[];
}

export interface StreamResponse {
  error_message: string;
  infer_response: InferResponse;
}

export function floats(values: number[]): Buffer {
  return Buffer.from(Float32Array.from(values).buffer);
}

/** A ModelInferRequest of one FP32 row. */
export function inferRequest(model: string, values: number[] = [1, 2, 3], rest: object = {}): object {
  return {
    model_name: model,
    id: 'r1',
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, values.length] }],
    raw_input_contents: [floats(values)],
    ...rest,
  };
}

/** The error a call must fail with. */
export async function status(call: Promise<unknown>): Promise<{ code: number; details: string; metadata: Metadata }> {
  try {
    await call;
  } catch (error) {
    return error as ServiceError;
  }
  return assert.fail('the call succeeded');
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}
