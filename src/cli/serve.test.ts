import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type CliResult, cli } from '../testing/cli.ts';
import type { Serve } from './serve.ts';
import { readSupervisorSettings, type SupervisorSettings } from './supervisor-settings.ts';

interface Served extends CliResult {
  options: Parameters<Serve>[0] | undefined;
  settings: SupervisorSettings | undefined;
}

async function serve(args: string[], environment: Record<string, string> = {}, exitCode = 0): Promise<Served> {
  const seen: Pick<Served, 'options' | 'settings'> = { options: undefined, settings: undefined };
  const before = { ...process.env };
  Object.assign(process.env, environment);
  try {
    const result = await cli(['serve', ...args], '', async (options, settings) => {
      seen.options = options;
      seen.settings = await settings();
      return exitCode;
    });
    return { ...result, ...seen };
  } finally {
    for (const name of Object.keys(environment)) delete process.env[name];
    Object.assign(process.env, before);
  }
}

/** Without what was not given. */
function given(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

test('what is not given is not overridden', async () => {
  const { options, code } = await serve([]);
  assert.equal(code, 0);
  assert.deepEqual(given(options), { overrides: { server: {}, models: {}, telemetry: {} } });
});

test('every flag becomes a setting', async () => {
  const flags =
    '--config a.yaml --model-repository x --model-repository y --host ::1 --http-port 1 --grpc-port 2 --metrics-port 3 --admin-port 0 --data-dir d --model-control-mode explicit --load-model m --load-model n --log-level warn';
  const { options } = await serve(flags.split(' '));
  assert.deepEqual(given(options), {
    configFile: 'a.yaml',
    overrides: {
      server: { host: '::1', httpPort: 1, grpcPort: 2, metricsPort: 3, adminPort: 0 },
      models: { repositories: [resolve('x'), resolve('y')], mode: 'explicit', load: ['m', 'n'] },
      telemetry: { logLevel: 'warn' },
      dataDir: resolve('d'),
    },
  });
});

test('variables count where flags are absent; lists are separated by colons', async () => {
  const { options } = await serve(['--http-port', '5'], {
    SWITCHYARD_HTTP_PORT: '6',
    SWITCHYARD_GRPC_PORT: '7',
    SWITCHYARD_MODEL_REPOSITORY: 'x:y',
  });
  const overrides = given(options?.overrides) as Record<string, Record<string, unknown>>;
  assert.deepEqual(overrides.server, { httpPort: 5, grpcPort: 7 });
  assert.deepEqual(overrides.models.repositories, [resolve('x'), resolve('y')]);
});

test("the server's exit code is the command's", async () => {
  assert.equal((await serve([], {}, 78)).code, 78);
});

for (const [args, message] of [
  [['--http-port', '65536'], /a port is a number from 0 to 65535/],
  [['--grpc-port', '-1'], /a port is a number/],
  [['--admin-port', '80x'], /a port is a number/],
  [['--model-control-mode', 'auto'], /Allowed choices are none, poll, explicit/],
  [['--log-level', 'loud'], /Allowed choices/],
  [['--nonsense'], /unknown option '--nonsense'/],
  [['surplus'], /too many arguments/],
] as const) {
  test(`serve ${args.join(' ')} is a usage error`, async () => {
    const { code, err, options } = await serve([...args]);
    assert.equal(code, 2);
    assert.match(err, message);
    assert.equal(options, undefined);
  });
}

test('the supervisor uses the data directory that the server uses', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'switchyard-'));
  t.after(() => rm(folder, { recursive: true }));
  const file = join(folder, 'switchyard.yaml');
  await writeFile(file, 'dataDir: from-file\nserver: {supervise: false}\n');
  assert.deepEqual((await serve([])).settings, { dataDir: resolve('data'), restart: true });
  assert.deepEqual((await serve(['--config', file])).settings, { dataDir: resolve('from-file'), restart: false });
  assert.equal((await serve(['--config', file, '--data-dir', 'x'])).settings?.dataDir, resolve('x'));
  const environment = { SWITCHYARD_DATA_DIR: 'from-env' };
  assert.equal((await serve(['--config', file], environment)).settings?.dataDir, resolve('from-env'));
  assert.equal((await serve(['--no-supervise'])).settings?.restart, false);
  await writeFile(file, 'dataDir: [');
  const settings = readSupervisorSettings({ config: file, supervise: true });
  assert.deepEqual(settings, { dataDir: resolve('data'), restart: true });
});

test('the parent process of serve loads no schema, no gRPC and no runtime', () => {
  const packages = new Set<string>();
  const seen = new Set<string>();
  const follow = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    const source = readFileSync(file, 'utf8');
    for (const [, from] of source.matchAll(/^(?:import|export) (?!type )[^;]*?from '([^']+)';/gms)) {
      if (from.startsWith('.')) follow(resolve(dirname(file), from));
      else if (!from.startsWith('node:')) packages.add(from);
    }
  };
  follow(fileURLToPath(new URL('./main.ts', import.meta.url)));
  follow(fileURLToPath(new URL('./supervisor.ts', import.meta.url)));
  assert.deepEqual([...packages], ['commander']);
  assert.ok(seen.size > 8, 'the walk must have followed the imports');
});
