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

  bidi<T = Record<string, unknown>>(name: string) {
    const method = this.definition[name];
    return this.client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize as (value: object) => Buffer,
      method.responseDeserialize as unknown as (bytes: Buffer) => T,
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
