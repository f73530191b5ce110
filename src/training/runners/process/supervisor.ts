/**
 * One small process per attempt, in a session of its own: it starts the job's processes, keeps their limits and their
 * log, ends all of them, and writes how it went. It outlives the server, which finds it again by its folder.
 *
 *   node supervisor.js < order.json
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants as fs, statSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { delimiter, join, resolve } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { monotonicMs } from '../../../shared/clock.ts';
import { rankEnvironment } from '../../jobs/launcher.ts';
import { AttemptFolder, type ExitRecord } from './folder.ts';
import { watchLimits } from './limits.ts';
import { LineFilter, LogFile } from './log-file.ts';
import type { SupervisorOrder } from './order.ts';
import { COOKIE, endMarked, processId, signal } from './proc.ts';

type Cause = { phase: 'cancelled' | 'timedOut' | 'failed' | 'lost'; reason: string };

interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** Output that processes still hold open after the end is waited for this long. */
const FLUSH_MS = 1000;
const FLUSH_LOOK_MS = 20;
/** Looks beyond that time, while there is still something to read in the pipes. */
const MAX_LATE_LOOKS = 200;

async function readOrder(): Promise<SupervisorOrder | undefined> {
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8')) text += chunk as string;
  // The server died while it wrote: nothing was claimed, and whoever starts the attempt again finds it untouched.
  return text.endsWith('\n') ? (JSON.parse(text) as SupervisorOrder) : undefined;
}

/** Where the program is that `argv[0]` names; undefined: nowhere. */
function findProgram(name: string, path: string, workDir: string): string | undefined {
  const places = name.includes('/')
    ? [resolve(workDir, name)]
    : path.split(delimiter).map((folder) => join(folder, name));
  return places.find((place) => {
    try {
      accessSync(place, fs.X_OK);
      return statSync(place).isFile();
    } catch {
      return false;
    }
  });
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const server = createServer();
    server.once('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => done(port));
    });
  });
}

/**
 * util-linux puts limits in place between fork and exec: one process may not have twice the job's memory (against
 * growth between two looks), no file may outgrow the work folder, no core is dumped, and what the supervisor leaves
 * behind when it is killed dies with it. The niceness too is there before the program's first step.
 */
function wrapped(program: string, args: readonly string[], limits: SupervisorOrder['limits']): string[] {
  const [setpriv, prlimit, nice] = ['setpriv', 'prlimit', 'nice'].map((tool) =>
    findProgram(tool, '/usr/bin:/bin', '/'),
  );
  const plain =
    nice === undefined || limits.nice === 0 ? [program, ...args] : [nice, '-n', String(limits.nice), program, ...args];
  if (setpriv === undefined || prlimit === undefined) return plain;
  const data = 2 * limits.memoryBytes + 256 * 1024 * 1024;
  const bounds = [`--data=${data}`, `--fsize=${limits.diskBytes}`, '--core=0'];
  return [setpriv, '--pdeathsig', 'KILL', '--', prlimit, ...bounds, '--', ...plain];
}

class Supervisor {
  private readonly order: SupervisorOrder;
  private readonly folder: AttemptFolder;
  private readonly log: LogFile;
  private readonly children: ChildProcess[] = [];
  private readonly filters: LineFilter[] = [];
  private cause: Cause | undefined;
  private startedAt = Date.now();
  private killTimer: NodeJS.Timeout | undefined;

  constructor(order: SupervisorOrder, folder: AttemptFolder) {
    this.order = order;
    this.folder = folder;
    this.log = new LogFile(folder.log, order.limits.logBytes);
    process.on('SIGTERM', () => this.onTerm());
    process.on('SIGINT', () => this.onTerm());
  }

  async run(): Promise<void> {
    const { argv, env, workDir, limits } = this.order;
    if (this.folder.cancelled() !== undefined) this.onTerm();
    if (this.cause !== undefined) {
      this.end({ code: null, signal: null }, this.cause);
      return;
    }
    const program = findProgram(argv[0], env.PATH ?? '', workDir);
    if (program === undefined) {
      const where = argv[0].includes('/') ? 'in the work folder, or may not be executed' : 'in PATH';
      this.end(
        { code: 127, signal: null },
        { phase: 'failed', reason: `${JSON.stringify(argv[0])} was not found ${where}` },
      );
      return;
    }
    const endings = await this.start(program, argv.slice(1));
    if (this.cause !== undefined) this.terminate(limits.graceMs);
    const stopWatch = watchLimits(
      this.children.flatMap(({ pid }) => pid ?? []),
      workDir,
      limits,
      (reason) => this.stop({ phase: 'failed', reason }, 0),
    );
    const timeout = setTimeout(
      () => this.stop({ phase: 'timedOut', reason: `it ran longer than ${limits.timeoutMs / 1000} s` }, limits.graceMs),
      Math.min(limits.timeoutMs, 2 ** 31 - 1),
    );
    const ending = await this.firstFailure(endings);
    stopWatch();
    clearTimeout(timeout);
    clearTimeout(this.killTimer);
    await endMarked(this.order.name, 'SIGTERM', 500);
    await this.flush();
    this.end(ending, this.cause);
  }

  private async start(program: string, args: readonly string[]): Promise<Promise<Ending>[]> {
    const { env, workDir, limits, processes, secrets, name } = this.order;
    const port = processes > 1 ? await freePort() : 0;
    const [file, ...rest] = wrapped(program, args, limits);
    const endings: Promise<Ending>[] = [];
    this.startedAt = Date.now();
    for (let localRank = 0; localRank < processes; localRank++) {
      const place = { nodes: 1, procsPerNode: processes, nodeRank: 0, localRank };
      const rank = processes === 1 ? {} : rankEnvironment({ ...place, masterAddress: '127.0.0.1', masterPort: port });
      const child = spawn(file, rest, {
        cwd: workDir,
        env: { ...env, ...rank, [COOKIE]: name },
        stdio: ['ignore', 'pipe', 'pipe'],
        detached: true,
      });
      this.children.push(child);
      endings.push(
        new Promise((done) => {
          child.once('exit', (code, by) => done({ code, signal: by }));
          child.once('error', (error) => {
            this.cause ??= { phase: 'failed', reason: `it could not be started: ${error.message}` };
            done({ code: null, signal: null });
          });
        }),
      );
      this.collect(child, localRank, secrets);
    }
    this.folder.putStarted(this.startedAt);
    return endings;
  }

  private collect(child: ChildProcess, localRank: number, secrets: readonly string[]): void {
    const plain = secrets.length === 0 && localRank === 0;
    for (const stream of [child.stdout, child.stderr]) {
      if (plain) {
        stream?.on('data', (chunk: Buffer) => this.log.write(chunk));
        continue;
      }
      const filter = new LineFilter(localRank === 0 ? '' : `[rank ${localRank}] `, secrets, (bytes) =>
        this.log.write(bytes),
      );
      this.filters.push(filter);
      stream?.on('data', (chunk: Buffer) => filter.add(chunk));
    }
  }

  /** Waits for all processes. One that fails takes the others along, as a launcher does. */
  private async firstFailure(endings: Promise<Ending>[]): Promise<Ending> {
    let first: Ending | undefined;
    await Promise.all(
      endings.map(async (promise) => {
        const ending = await promise;
        if (first !== undefined || (ending.code === 0 && ending.signal === null)) return;
        first = ending;
        if (endings.length > 1) this.terminate(this.order.limits.graceMs);
      }),
    );
    return first ?? { code: 0, signal: null };
  }

  private onTerm(): void {
    const asked = this.folder.cancelled();
    if (asked === undefined)
      this.stop({ phase: 'lost', reason: 'it was terminated from outside (SIGTERM)' }, this.order.limits.graceMs);
    else this.stop({ phase: 'cancelled', reason: 'cancelled' }, asked.graceMs);
  }

  private stop(cause: Cause, graceMs: number): void {
    this.cause ??= cause;
    this.terminate(graceMs);
  }

  /** TERM to the groups, then KILL. */
  private terminate(graceMs: number): void {
    const send = (name: NodeJS.Signals): void => {
      for (const { pid } of this.children) if (pid !== undefined) signal(-pid, name);
    };
    if (graceMs > 0) send('SIGTERM');
    clearTimeout(this.killTimer);
    this.killTimer = setTimeout(() => {
      send('SIGKILL');
      // What has left the group, and stopped processes too.
      void endMarked(this.order.name, 'SIGKILL', 0);
    }, graceMs);
  }

  /**
   * Reads what the processes wrote before they ended. The clock alone would lose it when this process was itself held up
   * for so long: timers run before pipes are read, so it also goes on until a whole turn of the event loop brings nothing.
   */
  private async flush(): Promise<void> {
    const streams = this.children.flatMap(({ stdout, stderr }) => [stdout, stderr]);
    const read = (): number =>
      streams.reduce((bytes, stream) => bytes + ((stream as Socket | null)?.bytesRead ?? 0), 0);
    const deadline = monotonicMs() + FLUSH_MS;
    for (let late = 0; late < MAX_LATE_LOOKS && !streams.every((stream) => stream?.destroyed !== false); ) {
      const before = read();
      await sleep(FLUSH_LOOK_MS);
      await nextTurn();
      if (monotonicMs() < deadline) continue;
      late++;
      if (read() === before) break;
    }
    for (const filter of this.filters) filter.end();
  }

  private end(ending: Ending, cause: Cause | undefined): void {
    this.log.close();
    const { dropped } = this.log;
    const record: ExitRecord = {
      phase: cause?.phase ?? (ending.code === 0 ? 'succeeded' : 'failed'),
      exitCode: ending.code,
      signal: ending.signal,
      reason: cause?.reason ?? describe(ending),
      startedAt: this.startedAt,
      endedAt: Date.now(),
    };
    if (dropped > 0)
      record.reason = [record.reason, `its log was cut: ${dropped} bytes were left out`].filter(Boolean).join('; ');
    this.folder.putExit(record);
    process.exit(0);
  }
}

function describe({ code, signal: by }: Ending): string {
  if (code === 0) return '';
  if (code !== null) return `exit code ${code}`;
  if (by === 'SIGKILL') return 'killed by SIGKILL; when nobody did it, the machine was out of memory';
  if (by === 'SIGXFSZ') return 'killed by SIGXFSZ: a file outgrew the disk that the job may use';
  return `killed by ${by}`;
}

const order = await readOrder();
if (order !== undefined) {
  process.on('SIGHUP', () => {});
  const folder = new AttemptFolder(order.root, order.name);
  // Hears signals before anybody can know whom to send them.
  const supervisor = new Supervisor(order, folder);
  if (folder.claim(processId(process.pid))) await supervisor.run();
  else process.exit(0);
}
