import { type ChildProcess, spawn } from 'node:child_process';
import { watch } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { invalidArgument, SwitchyardError } from '../../../shared/errors.ts';
import { loaderFlags, programFile } from '../../../shared/program-files.ts';
import type { JobSpec } from '../../jobs/spec.ts';
import type { AttemptSpec, AttemptStatus, LogChunk, Runner } from '../runner.ts';
import { AttemptFolder } from './folder.ts';
import type { SupervisorOrder } from './order.ts';
import { endMarked, isAlive, signal } from './proc.ts';

export interface ProcessRunnerSettings {
  /** Holds one folder per attempt. */
  folder: string;
  memoryBytes: number;
  diskBytes: number;
  minFreeBytes: number;
  logBytes: number;
  nice: number;
}

/** A supervisor that has not begun after this never will: a busy machine costs no job an attempt. */
const CLAIM_MS = 120_000;
const CLAIM_LOOK_MS = 20;
/** A process that waits to become the next supervisor costs memory: without jobs it goes. */
const SPARE_MS = 10 * 60_000;

/** Runs attempts as processes of this machine, each under a supervisor that outlives this server. */
export class ProcessRunner implements Runner {
  readonly kind = 'process';
  readonly local = true;
  private readonly settings: ProcessRunnerSettings;
  private spare: ChildProcess | undefined;
  private spareTimer: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(settings: ProcessRunnerSettings) {
    this.settings = settings;
  }

  check(spec: JobSpec): void {
    this.checkFields(spec);
    // Who asks this is about to start something: node's own start is most of what a start takes.
    this.warm();
  }

  private checkFields(spec: JobSpec): void {
    if (spec.command === undefined)
      throw invalidArgument('spec.command: missing; the process runner starts a command on this machine, not an image');
    if (spec.environment?.image !== undefined)
      throw invalidArgument(
        'spec.environment.image: the process runner has no containers; give requirements, or take the runner kubernetes',
      );
    if (spec.nodes > 1)
      throw invalidArgument(
        `spec.nodes: ${spec.nodes} is not allowed; the process runner is one machine: give 1 and use procsPerNode, or take the runner trainjob`,
      );
    const { memory, disk } = spec.resources;
    if (memory !== undefined && memory > this.settings.memoryBytes)
      throw invalidArgument(
        `spec.resources.memory: ${memory} bytes are more than training.process.memoryBytes, ${this.settings.memoryBytes}`,
      );
    if (disk !== undefined && disk > this.settings.diskBytes)
      throw invalidArgument(
        `spec.resources.disk: ${disk} bytes are more than training.process.diskBytes, ${this.settings.diskBytes}`,
      );
  }

  async start(attempt: AttemptSpec): Promise<void> {
    const folder = new AttemptFolder(this.settings.folder, attempt.name);
    folder.create();
    if (folder.supervisor() !== undefined || folder.exit() !== undefined) return;
    const child = this.takeSpare();
    let failure: Error | undefined;
    let stderr = '';
    child.once('error', (error) => {
      failure = error;
    });
    child.once('exit', (code) => {
      // One that found the attempt claimed ends with 0.
      if (code !== 0) failure ??= new Error(`it ended with code ${code}: ${stderr.slice(-500)}`);
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(`${JSON.stringify(this.order(attempt))}\n`);
    const until = performance.now() + CLAIM_MS;
    while (folder.supervisor() === undefined && failure === undefined && performance.now() < until)
      await this.changed(attempt.name, CLAIM_LOOK_MS);
    child.stderr?.destroy();
    if (folder.supervisor() !== undefined) return;
    child.kill('SIGKILL');
    const why = failure?.message ?? `it did not start within ${CLAIM_MS} ms`;
    throw new SwitchyardError('unavailable', `the supervisor of ${attempt.name} failed: ${why}`);
  }

  private order({ name, spec, env, secrets, workDir }: AttemptSpec): SupervisorOrder {
    const { memoryBytes, diskBytes, minFreeBytes, logBytes, nice } = this.settings;
    return {
      root: this.settings.folder,
      name,
      workDir,
      argv: [...(spec.command ?? []), ...spec.args],
      env,
      secrets,
      processes: spec.procsPerNode,
      limits: {
        memoryBytes: spec.resources.memory ?? memoryBytes,
        diskBytes: spec.resources.disk ?? diskBytes,
        minFreeBytes,
        logBytes,
        timeoutMs: spec.timeoutSeconds * 1000,
        graceMs: spec.graceSeconds * 1000,
        nice,
      },
    };
  }

  async status(name: string): Promise<AttemptStatus | undefined> {
    const folder = new AttemptFolder(this.settings.folder, name);
    if (!folder.exists()) return undefined;
    const ended = folder.exit();
    if (ended !== undefined) return ended;
    const supervisor = folder.supervisor();
    const startedAt = folder.started()?.startedAt ?? null;
    const going = { exitCode: null, signal: null, reason: '', startedAt, endedAt: null };
    if (supervisor === undefined) return { phase: 'starting', ...going };
    if (isAlive(supervisor)) return { phase: startedAt === null ? 'starting' : 'running', ...going };
    // It may have written its last word between the two looks.
    const last = folder.exit();
    if (last !== undefined) return last;
    await endMarked(name, 'SIGKILL', 0);
    const reason =
      'its supervisor process was killed, or the machine was started anew; nothing of the job runs any more';
    folder.putExit({ phase: 'lost', ...going, reason, endedAt: Date.now() });
    return folder.exit();
  }

  changed(name: string, waitMs: number): Promise<void> {
    const { state } = new AttemptFolder(this.settings.folder, name);
    return new Promise((resolve) => {
      const timer = setTimeout(() => done(), waitMs);
      let watcher: ReturnType<typeof watch> | undefined;
      const done = (): void => {
        clearTimeout(timer);
        watcher?.close();
        resolve();
      };
      try {
        watcher = watch(state, (_event, file) => {
          if (file !== null && !file.startsWith('.')) done();
        });
        watcher.on('error', () => {});
      } catch {
        // No such folder, or no more watches to be had: the time decides.
      }
    });
  }

  async logs(name: string, offset: number, limit: number): Promise<LogChunk> {
    const folder = new AttemptFolder(this.settings.folder, name);
    // Before the bytes: what is written last comes before the end is told.
    const over = folder.exit() !== undefined || !folder.exists();
    const file = await open(folder.log).catch(() => undefined);
    if (file === undefined) return { bytes: Buffer.alloc(0), next: offset, end: over };
    try {
      // Not filled: most of it is never touched, and what was read is all that leaves.
      const buffer = Buffer.allocUnsafe(limit);
      const { bytesRead } = await file.read(buffer, 0, limit, offset);
      return { bytes: buffer.subarray(0, bytesRead), next: offset + bytesRead, end: over && bytesRead < limit };
    } finally {
      await file.close();
    }
  }

  async cancel(name: string, graceMs: number): Promise<void> {
    const folder = new AttemptFolder(this.settings.folder, name);
    if (!folder.exists() || folder.exit() !== undefined) return;
    // First the word: a supervisor that only begins reads it before it starts anything.
    folder.putCancel(graceMs);
    const supervisor = folder.supervisor();
    if (supervisor !== undefined && isAlive(supervisor)) signal(supervisor.pid, 'SIGTERM');
  }

  async remove(name: string): Promise<void> {
    const folder = new AttemptFolder(this.settings.folder, name);
    const supervisor = folder.supervisor();
    if (supervisor !== undefined && folder.exit() === undefined) {
      await this.cancel(name, 0);
      const until = performance.now() + 5000;
      while (isAlive(supervisor) && performance.now() < until) await this.changed(name, 50);
      await endMarked(name, 'SIGKILL', 0);
    }
    folder.remove();
  }

  async close(): Promise<void> {
    this.closed = true;
    this.dropSpare();
  }

  /** A started supervisor that waits for its order. One whose server goes ends by itself: nothing comes any more. */
  private warm(): void {
    clearTimeout(this.spareTimer);
    this.spareTimer = setTimeout(() => this.dropSpare(), SPARE_MS);
    this.spareTimer.unref();
    if (this.spare !== undefined && this.spare.exitCode === null && this.spare.signalCode === null) return;
    this.spare = startSupervisor();
    this.spare.on('error', () => {});
    this.spare.unref();
    for (const stream of [this.spare.stdin, this.spare.stderr]) (stream as Socket | null)?.unref();
  }

  private takeSpare(): ChildProcess {
    this.warm();
    const spare = this.spare as ChildProcess;
    this.spare = undefined;
    setImmediate(() => {
      if (!this.closed) this.warm();
    });
    return spare;
  }

  private dropSpare(): void {
    clearTimeout(this.spareTimer);
    this.spare?.stdin?.destroy();
    this.spare = undefined;
  }
}

function startSupervisor(): ChildProcess {
  const entry = programFile('training/runners/process/supervisor');
  const small = ['--max-old-space-size=64', '--max-semi-space-size=2'];
  return spawn(process.execPath, [...small, ...loaderFlags(), entry], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin' },
    stdio: ['pipe', 'ignore', 'pipe'],
    detached: true,
  });
}
