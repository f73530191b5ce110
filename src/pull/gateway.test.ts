import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { steadyPorts } from '../testing/ports.ts';
import { emptyPostgres } from '../testing/registry.ts';
import { mlflowFiles, RegistryClient } from '../testing/registry-client.ts';
import { FIXTURES, infer, ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-pull-'));
const running = new Set<ServerProcess>();
const drops: (() => Promise<void>)[] = [];
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  for (const drop of drops) await drop();
  rmSync(scratch, { recursive: true, force: true });
});

const databases = new Map<string, string>();
/** Where SWITCHYARD_TEST_POSTGRES_URL names a server, the registries of this file are there: one for each data folder. */
async function withDatabase(config: string, dataDir: string | undefined): Promise<string> {
  const postgres = process.env.SWITCHYARD_TEST_POSTGRES_URL;
  if (postgres === undefined || postgres === '' || config.includes('registry: {url:')) return config;
  let database = dataDir === undefined ? undefined : databases.get(dataDir);
  if (database === undefined) {
    const fresh = await emptyPostgres(postgres);
    drops.push(fresh.drop);
    ({ database } = fresh);
    if (dataDir !== undefined) databases.set(dataDir, database);
  }
  const own = `database: "${database}"`;
  if (config.startsWith('registry: {')) return config.replace('registry: {', `registry: {${own}, `);
  return `registry: {${own}}\n${config === '{}\n' ? '' : config}`;
}

let files = 0;
async function start(config: string, dataDir?: string, flags: string[] = []): Promise<ServerProcess> {
  const file = join(scratch, `${files++}.yaml`);
  writeFileSync(file, await withDatabase(config, dataDir));
  const server = await ServerProcess.start(['--config', file, ...flags], dataDir === undefined ? {} : { dataDir });
  running.add(server);
  return server;
}

async function stop(server: ServerProcess): Promise<void> {
  running.delete(server);
  await server.stop();
}

const clientOf = (server: ServerProcess, token = ''): RegistryClient =>
  new RegistryClient(`http://127.0.0.1:${server.ports.admin}`, token);

const ask = (server: ServerProcess, model: string) =>
  infer(server, model, [{ name: 'INPUT', shape: [1, 4], datatype: 'FP32', data: [1, 2, 3, 4] }]);

async function until(what: string, check: () => Promise<boolean>): Promise<number> {
  const begun = performance.now();
  while (performance.now() - begun < 240_000) {
    if (await check()) return Math.round(performance.now() - begun);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(`not within four minutes: ${what}`);
}

const serves = (server: ServerProcess, model: string, version: string) => async () => {
  const { status, body } = await ask(server, model).catch(() => ({ status: 0, body: { model_version: '' } }));
  return status === 200 && body.model_version === version;
};

test('moving an alias swaps what is served, there and back, without one failed request', async (t) => {
  const server = await start('models: {source: registry}\n');
  const client = clientOf(server);
  await client.register('swap', mlflowFiles('one'));
  await client.alias('swap', 'champion', '1');
  t.diagnostic(`first version: ${await until('version 1', serves(server, 'swap', '1'))} ms`);
  const failures: string[] = [];
  let asking = true;
  let answered = 0;
  const load = Array.from({ length: 4 }, async () => {
    while (asking) {
      const { status, body } = await ask(server, 'swap');
      if (status === 200) answered++;
      else failures.push(`${status} ${body.error}`);
    }
  });
  await client.register('swap', mlflowFiles('two'));
  for (const version of ['2', '1', '2', '1']) {
    await client.alias('swap', 'champion', version);
    t.diagnostic(`to version ${version}: ${await until(`version ${version}`, serves(server, 'swap', version))} ms`);
  }
  asking = false;
  await Promise.all(load);
  assert.deepEqual(failures, []);
  assert.ok(answered > 0);
  await stop(server);
});

test('lineage leads on to the routes that serve a version and to what they decided', async () => {
  const routes = join(scratch, 'lineage-routes.yaml');
  writeFileSync(
    routes,
    JSON.stringify({
      apiVersion: 'switchyard/v1',
      kind: 'Route',
      metadata: { name: 'told' },
      spec: {
        match: [{ model: 'told' }],
        variants: { main: { model: 'lineage', alias: 'champion' } },
        strategy: { weighted: { main: 100 } },
      },
    }),
  );
  const server = await start(`models: {source: registry}\nroutes: {files: [${routes}]}\n`);
  const client = clientOf(server);
  await client.register('lineage', mlflowFiles('one'));
  await client.alias('lineage', 'champion', '1');
  await until('the route', serves(server, 'told', '1'));
  for (let i = 0; i < 20; i++) assert.equal((await ask(server, 'told')).status, 200);
  const path = '/api/v1/registry/models/lineage/versions/1/lineage';
  await until('what the route decided', async () => {
    const { decisions } = await client.ok('GET', path);
    return decisions.length === 1 && decisions[0].requests >= 21;
  });
  const { routes: leading, decisions } = await client.ok('GET', path);
  assert.deepEqual([leading[0].route, leading[0].variant], ['told', 'main']);
  assert.deepEqual([decisions[0].route, decisions[0].variant, decisions[0].errors], ['told', 'main', 0]);
  await stop(server);
});

test('a gateway elsewhere mirrors a registry, serves on without it, also after a restart, and follows when it is back', async (t) => {
  const token = 'a-long-admin-token-for-this-test';
  const registryData = join(scratch, 'registry-data');
  const gatewayData = join(scratch, 'gateway-data');
  const [port] = await steadyPorts(1);
  const open = () => start(`server: {adminToken: ${token}}\n`, registryData, ['--admin-port', String(port)]);
  let registry = await open();
  const config = `models: {source: registry, registry: {url: "http://127.0.0.1:${port}", token: ${token}, gatewayId: edge-1, follow: [{name: far model, served: far}]}}\n`;
  const client = clientOf(registry, token);
  await client.register('far model', mlflowFiles('one'));
  await client.alias('far model', 'champion', '1');
  const begun = performance.now();
  let gateway = await start(config, gatewayData);
  const startMs = performance.now() - begun;
  await until('version 1 far away', serves(gateway, 'far', '1'));
  await client.register('far model', mlflowFiles('two'));
  await client.alias('far model', 'champion', '2');
  t.diagnostic(`to version 2: ${await until('version 2 far away', serves(gateway, 'far', '2'))} ms`);
  const took: number[] = [];
  for (const version of ['1', '2', '1', '2', '1', '2']) {
    await client.alias('far model', 'champion', version);
    took.push(await until(`version ${version} far away`, serves(gateway, 'far', version)));
  }
  t.diagnostic(`there and back: ${took.join(', ')} ms`);
  // Where even that is much, the machine has much else to do: nothing is asked of it that a start does not take.
  const most = Math.max(1000, startMs);
  assert.ok(Math.min(...took) < most, `the quickest of these took more than ${most} ms: ${took.join(', ')} ms`);
  const shown = async () => (await client.ok('GET', '/api/v1/registry/gateways')).gateways[0];
  await until('the registry knows what the gateway serves', async () =>
    (await shown())?.models.some(
      (row: { version: string; state: string }) => row.version === '2' && row.state === 'READY',
    ),
  );
  assert.equal((await shown()).gateway_id, 'edge-1');
  const { gateways } = await client.ok('GET', '/api/v1/registry/models/far%20model/gateways');
  const first = gateways.find(
    (row: { version: string; state: string }) => row.version === '1' && row.state === 'READY',
  );
  assert.ok(first.until >= first.since);

  await stop(registry);
  assert.equal((await ask(gateway, 'far')).body.model_version, '2');
  await stop(gateway);
  gateway = await start(config.replace('follow: [', 'follow: [{name: one more}, '), gatewayData);
  assert.equal((await ask(gateway, 'far')).body.model_version, '2', 'served at once, from its own disk');

  registry = await open();
  await client.alias('far model', 'champion', '1');
  await until('version 1 again', serves(gateway, 'far', '1'));
  await stop(gateway);
  await stop(registry);
});

test('a gateway killed while it brings a version leaves whole files only, and goes on', async () => {
  const registry = await start('{}\n', join(scratch, 'registry-of-killed'));
  const client = clientOf(registry);
  const extra = { 'extra/large.bin': randomBytes(60_000_000), 'extra/other.bin': randomBytes(30_000_000) };
  await client.register('cut', { ...mlflowFiles('one'), ...extra });
  await client.alias('cut', 'champion', '1');
  const data = join(scratch, 'killed-gateway');
  const config = join(scratch, 'killed.yaml');
  writeFileSync(
    config,
    `models: {source: registry, registry: {url: "http://127.0.0.1:${registry.ports.admin}", gatewayId: cut-1}}\n`,
  );
  const blobs = join(data, 'pull', 'blobs');
  /** Names in a folder of the gateway's; none while it is not there. */
  const names = (folder: string): string[] => {
    try {
      return readdirSync(folder);
    } catch {
      return [];
    }
  };
  const arriving = (): boolean => names(blobs).some((name) => name.startsWith('.'));
  const checkWhole = (): void => {
    for (const name of names(blobs).filter((name) => !name.startsWith('.')))
      assert.equal(
        createHash('sha256')
          .update(readFileSync(join(blobs, name)))
          .digest('hex'),
        name,
      );
    for (const name of names(join(data, 'pull', 'versions')).filter((name) => !name.startsWith('.')))
      assert.deepEqual(readdirSync(join(data, 'pull', 'versions', name), { recursive: true }).toSorted(), [
        'MLmodel',
        'conda.yaml',
        'extra',
        'extra/large.bin',
        'extra/other.bin',
        'model.onnx',
      ]);
  };
  let cut = 0;
  for (let round = 0; round < 4 || (cut === 0 && round < 40); round++) {
    const gateway = ServerProcess.launch(['--config', config], { dataDir: data });
    const serving = (): number => {
      try {
        return gateway.servingPid();
      } catch {
        return 0;
      }
    };
    const begun = (): boolean => arriving() || names(join(data, 'pull', 'versions')).length > 0;
    await until('bytes arrive', async () => serving() > 0 && begun());
    await new Promise((resolve) => setTimeout(resolve, round * 15));
    const pid = serving();
    assert.ok(pid > 0, 'the gateway runs');
    await gateway.kill();
    if (arriving()) cut++;
    checkWhole();
    // It was quicker than this process: once more from nothing.
    if (cut === 0) rmSync(join(data, 'pull'), { recursive: true, force: true });
  }
  assert.ok(cut > 0, 'a kill came while bytes arrived');
  const gateway = await start(readFileSync(config, 'utf8'), data);
  await until('the version', serves(gateway, 'cut', '1'));
  checkWhole();
  assert.equal(names(join(data, 'pull', 'versions')).length, 1);
  await stop(gateway);
  await stop(registry);
});

test('what cannot be served is refused with its reason, and the good version serves on', async () => {
  const server = await start('models: {source: registry}\n');
  const client = clientOf(server);
  await client.register('odd name', mlflowFiles('one'));
  await client.alias('odd name', 'champion', '1');
  await until('the registry knows why a name is not served', async () => {
    const { gateways } = await client.ok('GET', '/api/v1/registry/models/odd%20name/gateways');
    const [row] = gateways;
    return row?.state === 'UNAVAILABLE' && /"odd name" cannot be served under its name; list it/.test(row.problem);
  });
  await client.register('strict', mlflowFiles('good'));
  await client.alias('strict', 'champion', '1');
  await until('version 1', serves(server, 'strict', '1'));
  const leading = readFileSync(join(FIXTURES, 'external_escape/1/model.onnx'));
  const bad: [Record<string, string | Uint8Array>, RegExp][] = [
    [
      { MLmodel: 'flavors: {sklearn: {pickled_model: model.pkl}}\n', 'model.pkl': 'cos\nsystem\n' },
      /only onnx is served/,
    ],
    [{ MLmodel: 'flavors: {onnx: {data: ../../etc/passwd}}\n', 'model.onnx': 'x' }, /not part of the version/],
    [{ MLmodel: 'flavors: [&a [*a]]\n', 'model.onnx': 'x' }, /cannot be served/],
    [{ ...mlflowFiles('escape'), 'model.onnx': leading }, /external data location/],
    [{ ...mlflowFiles('rubbish'), 'model.onnx': 'not onnx' }, /is not an ONNX model|preflight failed|was not loaded/],
    [{ ...mlflowFiles('backend'), 'config.pbtxt': 'backend: "javascript"' }, /may set/],
    [
      { ...mlflowFiles('server'), 'config.pbtxt': 'parameters { key: "url" value { string_value: "10.0.0.1:80" } }' },
      /may set/,
    ],
    [{ ...mlflowFiles('library'), 'config.yaml': 'model_operations: {op_library_filename: [a.so]}' }, /may set/],
  ];
  const reasonOf = async (version: string): Promise<string> => {
    const { versions } = await client.ok('GET', '/api/v1/models/strict');
    return versions.find((row: { version: string }) => row.version === version)?.reason ?? '';
  };
  for (const [files, reason] of bad) {
    const version = await client.register('strict', files);
    await client.alias('strict', 'champion', version);
    await until(`version ${version} is refused with ${reason}`, async () => reason.test(await reasonOf(version)));
    assert.equal((await ask(server, 'strict')).body.model_version, '1');
  }
  const version = await client.register('strict', mlflowFiles('needy'));
  const path = `/api/v1/registry/models/strict/versions/${version}/requirements`;
  await client.ok('PUT', path, { requirements: { hardware: { gpus: 8 } } });
  await client.alias('strict', 'champion', version);
  await until('a missing GPU is named', async () => /needs 8 GPUs; this gateway has 0/.test(await reasonOf(version)));
  assert.equal((await ask(server, 'strict')).body.model_version, '1');
  await client.ok('PUT', path, { requirements: {} });
  await until('it serves once it needs nothing', serves(server, 'strict', version));
  await stop(server);
});

test('a version that needs another model beside it serves once that appears in a folder', async () => {
  const repository = join(scratch, 'beside');
  mkdirSync(repository);
  const server = await start(`models: {source: registry, repositories: [${repository}], mode: poll, pollSeconds: 1}\n`);
  const client = clientOf(server);
  await client.register('needy', mlflowFiles('one'));
  const path = '/api/v1/registry/models/needy/versions/1/requirements';
  await client.ok('PUT', path, { requirements: { preprocessing: ['tokenizer'] } });
  await client.alias('needy', 'champion', '1');
  await until('it is known and not served', async () => {
    const { versions } = await client.ok('GET', '/api/v1/models/needy').catch(() => ({ versions: [] }));
    return versions[0]?.state === 'UNAVAILABLE' && /tokenizer/.test(versions[0].reason);
  });
  cpSync(join(FIXTURES, 'identity_fp32'), join(repository, 'tokenizer'), { recursive: true });
  await until('it serves beside it', serves(server, 'needy', '1'));
  await stop(server);
});

test('bytes that changed on disk are fetched again; without a trusted signature nothing serves', async () => {
  const data = join(scratch, 'damaged');
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const pem = (name: string, text: string | Buffer): string => {
    writeFileSync(join(scratch, name), text);
    return join(scratch, name);
  };
  const signing = pem('signing.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const trusted = pem('trusted.pem', publicKey.export({ type: 'spki', format: 'pem' }));
  const other = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' });
  const foreign = pem('foreign.pem', other);
  const config = (key: string): string =>
    `registry: {signingKey: ${signing}}\nmodels: {source: registry, registry: {trustedKeys: [${key}]}}\n`;
  let server = await start(config(trusted), data);
  const client = clientOf(server);
  await client.register('signed', mlflowFiles('one'));
  await client.alias('signed', 'champion', '1');
  await until('the signed version', serves(server, 'signed', '1'));
  await stop(server);

  const blobs = join(data, 'pull', 'blobs');
  for (const name of readdirSync(blobs)) {
    chmodSync(join(blobs, name), 0o600);
    const bytes = readFileSync(join(blobs, name));
    bytes[bytes.length - 1] ^= 1;
    writeFileSync(join(blobs, name), bytes);
  }
  server = await start(config(trusted), data);
  await until('the damaged version, mended', serves(server, 'signed', '1'));
  await stop(server);

  server = await start(config(foreign), data);
  const refusal = await server.waitFor(({ msg }) => /no trusted key has signed it/.test(String(msg)));
  assert.match(String(refusal.msg), /registered model "signed" cannot be brought here/);
  assert.notEqual((await ask(server, 'signed')).status, 200);
  await stop(server);
});
