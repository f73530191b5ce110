import { constants, existsSync, readFileSync, statfsSync } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import type { Config } from '../config/schema.ts';
import { type Check, check, reasonOf } from './check.ts';

const GIB = 1024 ** 3;
/** Each connection takes a file, and so do models, spools and databases. */
const COMFORTABLE_FILES = 8192;

/** @param dataDir absolute */
export async function checkMachine(server: Config['server'], dataDir: string): Promise<Check[]> {
  const { host, adminHost } = server;
  const wanted: [string, string, number][] = [
    ['httpPort', host, server.httpPort],
    ['grpcPort', host, server.grpcPort],
    ['metricsPort', host, server.metricsPort],
    ['adminPort', adminHost, server.adminPort],
  ];
  const running = await isOurs(server);
  return [
    await checkDataDir(dataDir),
    checkFileLimit(existsSync('/proc/self/limits') ? readFileSync('/proc/self/limits', 'utf8') : ''),
    ...(await Promise.all(wanted.map(([field, address, port]) => checkPort(field, address, port, running)))),
  ];
}

/** Writable, or below a folder where it can be made; and room in it. */
export async function checkDataDir(folder: string): Promise<Check> {
  let existing = folder;
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
  const remedy = `give this user a writable folder in dataDir, or: chown ${process.getuid?.() ?? '<user>'} ${existing}`;
  try {
    if (!(await stat(existing)).isDirectory())
      return check('machine', 'dataDir', 'failed', `${existing} is not a folder`, 'name a folder in dataDir');
    await access(existing, constants.W_OK | constants.X_OK);
  } catch (error) {
    return check('machine', 'dataDir', 'failed', reasonOf(error), remedy);
  }
  const { bavail, bsize } = statfsSync(existing);
  const free = bavail * bsize;
  const found = `${folder}${existing === folder ? '' : ' (is made at the start)'}, ${(free / GIB).toFixed(1)} GiB free`;
  if (free >= GIB) return check('machine', 'dataDir', 'ok', found);
  return check(
    'machine',
    'dataDir',
    'warning',
    found,
    'less than 1 GiB: spools and uploads fill it; free or add space',
  );
}

/** @param limits the text of /proc/self/limits; '' where there is none. Node has raised the soft limit to the hard one. */
export function checkFileLimit(limits: string): Check {
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1];
  if (soft === undefined) return check('machine', 'open files', 'missing', 'the limit cannot be read here');
  const enough = soft === 'unlimited' || Number(soft) >= COMFORTABLE_FILES;
  const remedy = `raise the hard limit to ${COMFORTABLE_FILES} and more (LimitNOFILE=, ulimit -Hn, --ulimit nofile=)`;
  return check('machine', 'open files', enough ? 'ok' : 'warning', `${soft} at most`, enough ? '' : remedy);
}

/** @param running a Switchyard answers on the configuration's HTTP port, so that its ports are rightly taken */
export async function checkPort(field: string, host: string, port: number, running: boolean): Promise<Check> {
  const name = `server.${field}`;
  if (port === 0) return check('machine', name, 'ok', 'any free port');
  const at = `${host}:${port}`;
  const code = await bindFailure(host, port);
  if (code === '') return check('machine', name, 'ok', `${at} is free`);
  if (code === 'EADDRINUSE' && running) return check('machine', name, 'ok', `${at} is taken, by a running Switchyard`);
  if (code === 'EADDRINUSE')
    return check('machine', name, 'failed', `${at} is taken`, `end what listens there, or set ${name}`);
  const remedy =
    code === 'EACCES' ? `ports below 1024 need a right; set ${name}` : "name one of this machine's addresses";
  return check('machine', name, 'failed', `${at} cannot be bound: ${code}`, remedy);
}

function bindFailure(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve('')));
  });
}

/** Whether the HTTP port answers as a server of ours. Not asked over TLS: a certificate may name another host. */
async function isOurs({ host, httpPort, tls, name }: Config['server']): Promise<boolean> {
  if (tls !== undefined || httpPort === 0) return false;
  const address = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '[::1]' : host.includes(':') ? `[${host}]` : host;
  try {
    const answer = await fetch(`http://${address}:${httpPort}/v2`, { signal: AbortSignal.timeout(3000) });
    return ((await answer.json()) as { name?: unknown }).name === name;
  } catch {
    return false;
  }
}
