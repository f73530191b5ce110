import { readFileSync } from 'node:fs';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import type { GrpcTls } from '../server/grpc/http2-server.ts';

/** Of fixtures/tls: alice and localhost are signed by ca; zoe and two-names, whose key is other.key, by other-ca. */
export function pem(name: string): Buffer {
  return readFileSync(new URL(`fixtures/tls/${name}`, import.meta.url));
}

/** A server named localhost. */
export function serverTls(clientCertificates: GrpcTls['clientCertificates'] = 'none', ca = 'ca.pem'): GrpcTls {
  return { cert: pem('localhost.pem'), key: pem('localhost.key'), ca: pem(ca), clientCertificates };
}

/** What a client that trusts it connects with, as `name` where one is given. */
export function clientTls(name = '', key = `${name}.key`): ConnectionOptions {
  const own = name === '' ? {} : { cert: pem(`${name}.pem`), key: pem(key) };
  return { ca: pem('ca.pem'), servername: 'localhost', ALPNProtocols: ['h2'], ...own };
}

/** A TLS connection to a port of this machine, without waiting for it. Errors are left to 'close'. */
export function tlsConnect(port: number, options: ConnectionOptions = clientTls()): TLSSocket {
  const socket = connect({ host: '127.0.0.1', port, ...options });
  socket.on('error', () => undefined);
  return socket;
}
