import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, mkdir, readdir, readlink, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SwitchyardError } from '../../shared/errors.ts';
import { type CommandResult, runCommand } from './command.ts';
import { environmentKey, type Interpreter } from './requirements.ts';

export interface EnvironmentSettings {
  folder: string;
  /** Name → program. */
  pythons: Readonly<Record<string, string>>;
  installer: 'auto' | 'pip' | 'uv';
  /** Options for "pip install" or "uv pip install". */
  arguments: readonly string[];
  timeoutMs: number;
  keepMs: number;
}

/** An environment that could not be made: why, what to do, and whether it may work later. */
export class EnvironmentError extends Error {
  readonly tail: string;
  readonly nextStep: string;
  readonly passing: boolean;

  constructor(message: string, tail: string, nextStep: string, passing: boolean) {
    super(message);
    this.name = 'EnvironmentError';
    this.tail = tail;
    this.nextStep = nextStep;
    this.passing = passing;
  }
}

const PASSING =
  /timed? ?out|Connection (reset|refused|aborted|broken)|Temporary failure|Max retries|Network is unreachable|\b50[234]\b|No space left/i;
/** Of the server's environment what installers go by. */
const PASSED_ON =
  /^(PATH|HOME|LANG|LC_ALL|TMPDIR|PIP_\w+|UV_\w+|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|(https?|no|all)_proxy)$/i;
const BUILDS = '.builds';
const USED = '.switchyard-used';
/** A build that nothing points to after so long was cut off with its server. */
const ABANDONED_MS = 24 * 3600 * 1000;
const PROBE = `import sys, sysconfig
print(sys.version.split()[0], sys.implementation.name, sysconfig.get_platform())`;

/**
 * Virtual environments by what they hold. Each is built in a folder of its own, where it stays: its scripts name their
 * interpreter by its path. A link with the environment's key, made last and made by one builder only, gives it out.
 */
export class Environments {
  private readonly settings: EnvironmentSettings;
  private readonly building = new Map<string, Promise<string>>();
  private readonly interpreters = new Map<string, { changed: number; found: Interpreter }>();
  private readonly closing = new AbortController();
  private uv: boolean | undefined;

  constructor(settings: EnvironmentSettings) {
    this.settings = settings;
  }

  /** Throws invalid_argument for a Python that the settings do not name. */
  check(python: string): void {
    if (Object.hasOwn(this.settings.pythons, python)) return;
    const known = Object.keys(this.settings.pythons).join(', ');
    throw new SwitchyardError(
      'invalid_argument',
      `spec.environment.python: ${JSON.stringify(python)} is not in training.pythons; there are: ${known}`,
    );
  }

  /** The folder of an environment, built if it must be. Several who ask wait for one build. Rejects with EnvironmentError. */
  async provide(requirements: string, python: string): Promise<string> {
    this.check(python);
    const interpreter = await this.interpreter(this.settings.pythons[python]);
    const key = environmentKey(requirements, interpreter, this.settings.arguments);
    const known = await this.find(key);
    if (known !== undefined) return known;
    let build = this.building.get(key);
    if (build === undefined) {
      build = this.build(key, requirements, interpreter).finally(() => this.building.delete(key));
      this.building.set(key, build);
    }
    return build;
  }

  /** Ends builds that are under way. */
  async close(): Promise<void> {
    this.closing.abort();
    await Promise.allSettled(this.building.values());
  }

  /** Removes environments that nothing has asked for in a long time. Returns how many. */
  async collect(now: number): Promise<number> {
    const { folder, keepMs } = this.settings;
    const kept = new Set<string>();
    let removed = 0;
    for (const entry of await readdir(folder).catch(() => [])) {
      if (entry === BUILDS) continue;
      const target = await readlink(join(folder, entry)).catch(() => undefined);
      if (target === undefined) continue;
      const used = await stat(join(target, USED)).catch(() => undefined);
      if (used !== undefined && now - used.mtimeMs < keepMs) {
        kept.add(basename(target));
        continue;
      }
      await rm(join(folder, entry), { force: true });
      await rm(target, { recursive: true, force: true });
      removed++;
    }
    for (const entry of await readdir(join(folder, BUILDS)).catch(() => [])) {
      const path = join(folder, BUILDS, entry);
      const { mtimeMs } = await lstat(path).catch(() => ({ mtimeMs: now }));
      if (!kept.has(entry) && now - mtimeMs > ABANDONED_MS) await rm(path, { recursive: true, force: true });
    }
    return removed;
  }

  private async find(key: string): Promise<string | undefined> {
    const target = await readlink(join(this.settings.folder, key)).catch(() => undefined);
    if (target === undefined || !existsSync(join(target, 'bin', 'python'))) return undefined;
    const now = new Date();
    await utimes(join(target, USED), now, now);
    return target;
  }

  private async build(key: string, requirements: string, interpreter: Interpreter): Promise<string> {
    const { folder } = this.settings;
    const builds = join(folder, BUILDS);
    await mkdir(builds, { recursive: true });
    const target = join(builds, `${key}-${randomBytes(6).toString('hex')}`);
    try {
      await this.install(target, requirements, interpreter);
      await writeFile(join(target, USED), '');
      const link = join(folder, key);
      await symlink(target, link).catch(async (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
        // Another server was first; one whose interpreter has gone gives way.
        if ((await this.find(key)) === undefined) {
          await rm(link, { force: true });
          await symlink(target, link);
        }
      });
    } catch (error) {
      await rm(target, { recursive: true, force: true });
      throw error;
    }
    const published = (await this.find(key)) ?? target;
    if (published !== target) await rm(target, { recursive: true, force: true });
    return published;
  }

  private async install(target: string, requirements: string, { program }: Interpreter): Promise<void> {
    const uv = await this.usesUv();
    const modern = !uv && (await this.hasPip(program));
    const made = uv
      ? await this.run('uv', ['venv', '--quiet', '--python', program, target])
      : await this.run(program, ['-m', 'venv', ...(modern ? ['--without-pip'] : []), target]);
    if (made.code !== 0)
      throw failure('the virtual environment could not be made', made, `install Python's venv module for ${program}`);
    const file = join(target, 'requirements.txt');
    await writeFile(file, `${requirements}\n`);
    if (requirements.trim() === '') return;
    const python = join(target, 'bin', 'python');
    const options = [...this.settings.arguments, '-r', file];
    const pip = ['--disable-pip-version-check', '--no-input'];
    const installed = uv
      ? await this.run('uv', ['pip', 'install', '--python', python, ...options])
      : modern
        ? await this.run(program, ['-m', 'pip', '--python', python, ...pip, 'install', ...options])
        : await this.run(python, ['-m', 'pip', ...pip, 'install', ...options]);
    if (installed.code !== 0)
      throw failure('the requirements could not be installed', installed, 'correct spec.environment.requirements');
  }

  private run(program: string, args: readonly string[]): Promise<CommandResult> {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => PASSED_ON.test(name)));
    return runCommand(program, args, { env, timeoutMs: this.settings.timeoutMs, signal: this.closing.signal });
  }

  private async usesUv(): Promise<boolean> {
    if (this.settings.installer !== 'auto') return this.settings.installer === 'uv';
    this.uv ??= (await this.run('uv', ['--version'])).code === 0;
    return this.uv;
  }

  /** Whether the interpreter's own pip can install into another environment: then none is copied into each. */
  private async hasPip(program: string): Promise<boolean> {
    const { output } = await this.run(program, ['-m', 'pip', '--version']);
    const [, major = '0', minor = '0'] = /^pip (\d+)\.(\d+)/m.exec(output) ?? [];
    return Number(major) > 22 || (Number(major) === 22 && Number(minor) >= 3);
  }

  /** Asked anew when the program's file changes. */
  private async interpreter(program: string): Promise<Interpreter> {
    const changed = program.includes('/')
      ? await stat(program).then(
          ({ mtimeMs }) => mtimeMs,
          () => 0,
        )
      : 0;
    const known = this.interpreters.get(program);
    if (known !== undefined && known.changed === changed) return known.found;
    const result = await this.run(program, ['-c', PROBE]);
    const [version, implementation, platform] = result.output.trim().split(/\s+/);
    if (result.code !== 0 || platform === undefined)
      throw failure(`the interpreter ${program} does not run`, result, 'install it, or correct training.pythons');
    const found = { program, version: `${version} ${implementation}`, platform };
    this.interpreters.set(program, { changed, found });
    return found;
  }
}

function failure(what: string, { output, code }: CommandResult, nextStep: string): EnvironmentError {
  const lines = output.trimEnd().split('\n');
  const tail = lines.slice(-30).join('\n');
  const telling = lines.findLast((line) => /error/i.test(line))?.trim() ?? lines.at(-1) ?? `exit code ${code}`;
  return new EnvironmentError(`${what}: ${telling.slice(0, 300)}`, tail, nextStep, PASSING.test(tail));
}
