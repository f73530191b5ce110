import { native } from '../../tensor/native.ts';
import type { Dispatcher } from './dispatcher.ts';
import { GrpcHttp2Server, type GrpcTransport, type TransportOptions } from './http2-server.ts';
import { NativeGrpcServer } from './native-server.ts';

export type GrpcLibrary = 'auto' | 'native' | 'node';

/** Reads SWITCHYARD_GRPC: 'native' and 'node' force what carries gRPC, '' and 'auto' prefer the addon. */
export function grpcLibrary(value: string | undefined): GrpcLibrary {
  switch (value) {
    case undefined:
    case '':
    case 'auto':
      return 'auto';
    case 'native':
    case 'node':
      return value;
    default:
      throw new Error(`SWITCHYARD_GRPC is "${value}"; allowed are native, node and auto`);
  }
}

/** Why the addon's HTTP/2 is not used though the addon is, with the remedy; '' where it is. */
export function grpcTransportProblem(tls: boolean): string {
  const missing = native?.grpcProblem() || (tls && native?.grpcTlsProblem()) || '';
  if (missing === '') return '';
  return (
    `this node executable does not export ${missing}, so gRPC is served by the slower node:http2. ` +
    'Remedy: use a node executable that carries its own nghttp2, libuv and OpenSSL 3, as the builds from nodejs.org do'
  );
}

/** True where the addon carries gRPC: then every gateway thread may listen on the port, which node:http2 cannot share. */
export function carriesNatively(library: GrpcLibrary, tls: boolean): boolean {
  if (library === 'node') return false;
  const problem = native === undefined ? 'the addon is not in use' : grpcTransportProblem(tls);
  if (library === 'native' && problem !== '') throw new Error(`SWITCHYARD_GRPC is native, but ${problem}`);
  return problem === '';
}

/** The addon's HTTP/2 where it is to be had, else node's. With `shared`, other threads listen on the same port. */
export function openTransport(
  dispatcher: Dispatcher,
  options: TransportOptions,
  library: GrpcLibrary,
  shared: boolean,
): GrpcTransport {
  if (!carriesNatively(library, options.tls !== undefined)) return new GrpcHttp2Server(dispatcher, options);
  return new NativeGrpcServer(native!, dispatcher, options, shared);
}
