import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

/** Folder for what takes long to build and is the same for every checkout. */
export function cacheFolder(): string {
  return process.env.SWITCHYARD_CACHE ?? join(homedir(), '.cache', 'switchyard');
}

/**
 * The peer's virtual environment, built from `requirements.txt` (and `requirements-no-deps.txt`, installed without
 * dependencies) in its folder; kept until one of them changes. Throws with pip's output when it cannot be built.
 */
export function ensureVenv(peer: string, folder: string): string {
  const venv = join(cacheFolder(), 'venvs', peer);
  const lists = ['requirements.txt', 'requirements-no-deps.txt'].filter((name) => existsSync(join(folder, name)));
  const stamp = createHash('sha256')
    .update(lists.map((name) => readFileSync(join(folder, name), 'utf8')).join('\0'))
    .digest('hex');
  const stampFile = join(venv, '.stamp');
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8').trim() === stamp) return venv;

  console.error(`building the virtual environment of ${peer} (once)`);
  rmSync(venv, { recursive: true, force: true });
  mkdirSync(dirname(venv), { recursive: true });
  const run = (command: string, args: string[]): void => {
    try {
      execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
    } catch (error) {
      const { stderr } = error as { stderr?: string };
      throw new Error(`${peer}: ${command} ${args.join(' ')} failed:\n${stderr ?? (error as Error).message}`);
    }
  };
  run(process.env.PYTHON ?? 'python3', ['-m', 'venv', venv]);
  for (const name of lists) {
    const noDeps = name === 'requirements-no-deps.txt' ? ['--no-deps'] : [];
    run(join(venv, 'bin', 'pip'), ['install', '-q', ...noDeps, '-r', join(folder, name)]);
  }
  writeFileSync(stampFile, stamp);
  return venv;
}

/** Answer of a Python expression evaluated in the environment. */
export function pythonValue(venv: string, imports: string, expression: string): string {
  const code = `import ${imports}; print(${expression})`;
  return execFileSync(join(venv, 'bin', 'python'), ['-c', code], { encoding: 'utf8' }).trim();
}
