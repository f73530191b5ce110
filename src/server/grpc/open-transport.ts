import { native } from '../../tensor/native.ts';
import type { Dispatcher } from './dispatcher.ts';
import { GrpcHttp2Server, type GrpcTransport, type TransportOptions } from './http2-server.ts';
import { NativeGrpcServer } from './native-server.ts';

/** Why the addon's HTTP/2 is not used though the addon is, with the remedy; '' where it is. */
export function grpcTransportProblem(): string {
  const missing = native?.grpcProblem() ?? '';
  if (missing === '') return '';
  return (
    `this node executable does not export ${missing}, so gRPC is served by the slower node:http2. ` +
    'Remedy: use a node executable that carries its own nghttp2 and libuv, as the builds from nodejs.org do'
  );
}

/** True where every gateway thread may listen on the gRPC port: the addon shares it, node:http2 does not. */
export function sharesGrpcPort(tls: boolean): boolean {
  return native !== undefined && !tls && grpcTransportProblem() === '';
}

/** The addon's HTTP/2 where it is to be had, else node's. */
export function openTransport(dispatcher: Dispatcher, options: TransportOptions, shared: boolean): GrpcTransport {
  if (native === undefined || !sharesGrpcPort(options.tls !== undefined))
    return new GrpcHttp2Server(dispatcher, options);
  return new NativeGrpcServer(native, dispatcher, options, shared);
}
