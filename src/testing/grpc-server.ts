import { Server as GrpcServer, type Server, ServerCredentials, status, type UntypedHandleCall } from '@grpc/grpc-js';

export type UnaryHandler = (request: Buffer) => Buffer | Promise<Buffer>;

/** An error with a gRPC status, for handlers to throw. */
export function grpcError(code: keyof typeof status, details: string): Error {
  return Object.assign(new Error(details), { code: status[code], details });
}

/** A gRPC server of unary methods on bytes, on a loopback port. `port` 0: any. */
export async function startGrpcServer(
  methods: Readonly<Record<string, UnaryHandler>>,
  port = 0,
): Promise<{ server: Server; port: number }> {
  const server = new GrpcServer();
  for (const [path, handler] of Object.entries(methods)) {
    const bytes = (value: Buffer) => value;
    const definition = {
      path,
      requestStream: false,
      responseStream: false,
      requestSerialize: bytes,
      requestDeserialize: bytes,
      responseSerialize: bytes,
      responseDeserialize: bytes,
    };
    const handle: UntypedHandleCall = (
      call: { request: Buffer },
      done: (error: Error | null, value?: Buffer) => void,
    ) => {
      void (async () => handler(call.request))().then(
        (value) => done(null, value),
        (error) => done(error),
      );
    };
    server.addService({ [path]: definition }, { [path]: handle });
  }
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, value) =>
      error === null ? resolve(value) : reject(error),
    );
  });
  return { server, port: bound };
}
