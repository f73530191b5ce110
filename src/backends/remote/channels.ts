import { type ChannelCredentials, Client, type ClientDuplexStream, Metadata, type ServiceError } from '@grpc/grpc-js';
import { SwitchyardError } from '../../shared/errors.ts';
import type { ExecuteOptions } from '../backend.ts';
import { fromStatus } from './status.ts';

/** Messages may be as large as gRPC allows; the gateway has bounded the request already. */
const CHANNEL_OPTIONS = {
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  // Each client its own connection: one HTTP/2 connection is one flow-control window and one thread at the far end.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2000,
  // Loopback and cluster addresses are asked directly, whatever http_proxy says.
  'grpc.enable_http_proxy': 0,
};

const identity = (bytes: Buffer): Buffer => bytes;

/** Several connections to one replica, used in turn. Messages are bytes both ways. */
export class ReplicaChannels {
  readonly #clients: Client[];
  readonly #metadata = new Metadata();
  #next = 0;

  constructor(address: string, credentials: ChannelCredentials, count: number) {
    this.#clients = Array.from({ length: count }, () => new Client(address, credentials, CHANNEL_OPTIONS));
  }

  /**
   * A unary call.
   * @param timeoutMs until the call fails with deadline_exceeded
   * @throws SwitchyardError
   */
  unary(
    path: string,
    request: Buffer,
    timeoutMs: number,
    { signal, trace }: Pick<ExecuteOptions, 'signal' | 'trace'> = {},
  ): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(cancelled());
        return;
      }
      const options = { deadline: Date.now() + timeoutMs };
      const abort = () => call.cancel();
      const done = (error: ServiceError | null, response?: Buffer) => {
        signal?.removeEventListener('abort', abort);
        if (error !== null) reject(fromStatus(error.code, error.details));
        else resolve(response!);
      };
      const metadata = this.#metadataOf(trace);
      const call = this.#client().makeUnaryRequest(path, identity, identity, request, metadata, options, done);
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** A bidirectional stream; the caller writes, ends and reads it. Its errors are gRPC's own. */
  duplex(path: string, timeoutMs: number, trace?: ExecuteOptions['trace']): ClientDuplexStream<Buffer, Buffer> {
    const options = { deadline: Date.now() + timeoutMs };
    return this.#client().makeBidiStreamRequest(path, identity, identity, this.#metadataOf(trace), options);
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }

  /** One for all calls that nobody traces. */
  #metadataOf(trace: ExecuteOptions['trace']): Metadata {
    if (trace === undefined) return this.#metadata;
    const metadata = new Metadata();
    metadata.set('traceparent', trace.traceparent);
    if (trace.tracestate !== '') metadata.set('tracestate', trace.tracestate);
    return metadata;
  }

  #client(): Client {
    this.#next = (this.#next + 1) % this.#clients.length;
    return this.#clients[this.#next];
  }
}

function cancelled(): SwitchyardError {
  return new SwitchyardError('cancelled', 'the request was cancelled');
}
