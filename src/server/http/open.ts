import { type AddressInfo, createServer } from 'node:net';
import { listenNode } from './node.ts';
import type { HttpHandler, HttpServer, ListenOptions } from './socket.ts';

/** The part of a pino logger this folder uses. */
export interface Warner {
  warn(fields: Record<string, unknown>, message: string): void;
}

export type HttpLibrary = 'auto' | 'native' | 'uws' | 'node';

let warned = false;

/** Reads SWITCHYARD_HTTP: 'native', 'uws' and 'node' force a socket library, '' and 'auto' prefer uWS. Throws on anything else. */
export function httpLibrary(value: string | undefined): HttpLibrary {
  switch (value) {
    case undefined:
    case '':
    case 'auto':
      return 'auto';
    case 'native':
    case 'uws':
    case 'node':
      return value;
    default:
      throw new Error(`SWITCHYARD_HTTP is "${value}"; allowed are native, uws, node and auto`);
  }
}

/**
 * Opens a port with uWebSockets.js where its binary loads, else with node:http and one warning per thread. A listener
 * that demands client certificates gets node:https, the only one of the two that can enforce them. `library` may force
 * one, the addon too. `load` tries the binary.
 */
export async function listen(
  options: ListenOptions,
  handler: HttpHandler,
  library: HttpLibrary,
  log: Warner,
  load: () => Promise<unknown> = async () => (await import('./uws.ts')).loadUws(),
): Promise<HttpServer> {
  if (library === 'node') return listenNode(options, handler);
  if (library === 'native') return (await import('./native.ts')).listenNative(options, handler);
  if (options.tls?.caFile !== undefined && library === 'auto') return listenNode(options, handler);
  try {
    await load();
  } catch (error) {
    if (library === 'uws') throw error;
    if (!warned) {
      warned = true;
      log.warn(
        { reason: error instanceof Error ? error.message.split('\n').pop() : String(error) },
        'uWebSockets.js has no binary for this platform, serving through node:http (slower, one gateway thread). ' +
          'Install the upstream release for this Node version as described in docs/install.md, or set SWITCHYARD_HTTP=node',
      );
    }
    return listenNode(options, handler);
  }
  return (await import('./uws.ts')).listenUws(options, handler);
}

const FREE_PORT_TRIES = 5;

/**
 * Opens on a port that nobody listens on, as {@link freePort} finds it. One that the system chose may be taken by
 * another process before it is opened: then on another.
 */
export async function openOnFree<T>(host: string, port: number, open: (port: number) => Promise<T>): Promise<T> {
  for (let tries = port === 0 ? FREE_PORT_TRIES : 1; ; tries--) {
    const found = await freePort(host, port);
    try {
      return await open(found);
    } catch (error) {
      if (tries === 1) throw error;
    }
  }
}

/**
 * Rejects when someone listens on the port. uWS shares ports (SO_REUSEPORT) among its threads, and so would share one
 * with another process of the same user in silence; the first thread asks before the others listen. It does not share a
 * port that the system chose: for 0 this resolves to a free one that can be asked for.
 */
export function freePort(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) =>
      reject(new Error(`cannot listen on ${host}:${port}: ${error.code ?? error.message}`)),
    );
    probe.listen({ host, port, exclusive: true }, () => {
      const { port: found } = probe.address() as AddressInfo;
      probe.close(() => resolve(found));
    });
  });
}
