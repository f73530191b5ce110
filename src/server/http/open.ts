import { type AddressInfo, createServer } from 'node:net';
import { listenNode } from './node.ts';
import type { HttpHandler, HttpServer, ListenOptions } from './socket.ts';

/** The part of a pino logger this folder uses. */
export interface Warner {
  warn(fields: Record<string, unknown>, message: string): void;
}

export type HttpLibrary = 'auto' | 'native' | 'uws' | 'node';

let warned = false;

/** Reads SWITCHYARD_HTTP: 'native', 'uws' and 'node' force a socket library, '' and 'auto' take the best there is. Throws on anything else. */
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

/** Finds the socket libraries of this machine. Both reject with what is missing; `uws` loads the binary. */
export interface Finder {
  native(tls: boolean): Promise<void>;
  uws(): Promise<unknown>;
}

const INSTALLED: Finder = {
  native: async (tls) => {
    const problem = (await import('./native.ts')).nativeHttpProblem(tls);
    if (problem !== '') throw new Error(problem);
  },
  uws: async () => (await import('./uws.ts')).loadUws(),
};

/**
 * The library that serves a port, of those forced and found: the addon, else uWebSockets.js, which cannot check client
 * certificates, else node:http. A forced one is not looked for. `missing` hears why
 * uWebSockets.js cannot be had where node:http stands in for it.
 */
export async function chooseLibrary(
  wanted: HttpLibrary,
  tls: ListenOptions['tls'],
  missing: (reason: unknown) => void = () => {},
  find: Finder = INSTALLED,
): Promise<Exclude<HttpLibrary, 'auto'>> {
  if (wanted !== 'auto') return wanted;
  const carries = find.native(tls !== undefined).then(
    () => true,
    () => false,
  );
  if (await carries) return 'native';
  if (tls?.caFile !== undefined) return 'node';
  try {
    await find.uws();
    return 'uws';
  } catch (reason) {
    missing(reason);
    return 'node';
  }
}

/** Opens a port with the library that {@link chooseLibrary} names; with node:http for want of another, after one warning per thread. */
export async function listen(
  options: ListenOptions,
  handler: HttpHandler,
  wanted: HttpLibrary,
  log: Warner,
  find?: Finder,
): Promise<HttpServer> {
  switch (await chooseLibrary(wanted, options.tls, (reason) => warnOnce(log, reason), find)) {
    case 'native':
      return (await import('./native.ts')).listenNative(options, handler);
    case 'uws':
      return (await import('./uws.ts')).listenUws(options, handler);
    case 'node':
      return listenNode(options, handler);
  }
}

function warnOnce(log: Warner, reason: unknown): void {
  if (warned) return;
  warned = true;
  log.warn(
    { reason: reason instanceof Error ? reason.message.split('\n').pop() : String(reason) },
    'Neither the addon nor uWebSockets.js can be loaded, serving through node:http (slower, one gateway thread). ' +
      'Install a compiler for the addon or the upstream release of uWebSockets.js for this Node version, as described in ' +
      'docs/install.md, or set SWITCHYARD_HTTP=node',
  );
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
