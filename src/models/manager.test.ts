import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import type { LoadSpec, RuntimeSignature } from '../backends/backend.ts';
import { chosenVersion, isModelReady } from '../pipeline/ready.ts';
import type { ServingTable } from '../pipeline/types.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { ExecutorPool, Preflight, PreflightReport } from './loader.ts';
import { createModelManager, type ModelManager } from './manager.ts';
import type { ModelManagerDeps, ModelManagerOptions } from './manager-options.ts';
import { type ScannedModel, scanModel } from './repository/scan.ts';
import { quarantineNewest } from './verdicts.ts';

const SIGNATURE: RuntimeSignature = {
  inputs: [{ name: 'in', datatype: 'FP32', dims: [-1, 3] }],
  outputs: [{ name: 'out', datatype: 'FP32', dims: [-1, 3] }],
};

/** Executors, preflight and gateways that only remember, and check that nothing in the table is ever unloaded. */
class World implements ExecutorPool, Preflight {
  readonly events: string[] = [];
  readonly held = new Map<number, LoadSpec>();
  readonly used = new Map<string, number>();
  /** "model/version" → why it fails. */
  readonly failPreflight = new Map<string, string>();
  readonly failLoad = new Map<string, string | Error>();
  bytes = 0;
  table: ServingTable = { generation: 0, models: new Map() };
  publishes = 0;
  private loadsOf = new Map<string, number>();

  async run(spec: LoadSpec): Promise<PreflightReport> {
    await this.tick();
    this.events.push(`preflight ${spec.model}/${spec.version}`);
    const reason = this.failPreflight.get(`${spec.model}/${spec.version}`);
    if (reason !== undefined) throw new Error(reason);
    return { signature: SIGNATURE, memoryBytes: this.bytes, warmupMs: 1 };
  }

  async load(spec: LoadSpec, handle: number) {
    const busy = (this.loadsOf.get(spec.model) ?? 0) + 1;
    assert.equal(busy, 1, `two loads of ${spec.model} at once`);
    this.loadsOf.set(spec.model, busy);
    await this.tick();
    this.loadsOf.set(spec.model, 0);
    this.events.push(`load ${spec.model}/${spec.version}`);
    const reason = this.failLoad.get(`${spec.model}/${spec.version}`);
    if (reason !== undefined) throw reason instanceof Error ? reason : new Error(reason);
    this.held.set(handle, spec);
    return { executors: [0], absence: '', signature: SIGNATURE, memoryBytes: this.bytes };
  }

  async unload(handle: number): Promise<void> {
    const spec = this.held.get(handle);
    assert.ok(spec, `handle ${handle} is unloaded but not held`);
    for (const model of this.table.models.values()) {
      for (const version of model.versions) assert.notEqual(version.handle, handle, 'unloaded while gateways use it');
    }
    await this.tick();
    this.held.delete(handle);
    this.events.push(`unload ${spec.model}/${spec.version}`);
  }

  async publish(table: ServingTable): Promise<void> {
    await this.tick();
    this.publishes++;
    assert.ok(table.generation > this.table.generation);
    for (const model of table.models.values()) {
      for (const version of model.versions) {
        if (version.config.backend !== 'ensemble') assert.ok(this.held.has(version.handle), 'published but not loaded');
      }
    }
    const before = this.serving();
    this.table = table;
    if (this.serving() !== before) this.events.push(`publish ${this.serving()}`);
  }

  serving(): string {
    return [...this.table.models.values()]
      .filter((model) => model.versions.length > 0)
      .map((model) => `${model.name}:${model.versions.map((version) => version.version)}`)
      .sort()
      .join(' ');
  }

  private tick(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }
}

let root = '';
let world = new World();
const roots: string[] = [];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'switchyard-manager-'));
  roots.push(root);
  await mkdir(join(root, 'models'));
  world = new World();
});
after(() => Promise.all(roots.map((path) => rm(path, { recursive: true, force: true }))));

const EMPTY_ONNX = Buffer.from([8, 8]);
const onnx = (salt: string) => Buffer.concat([EMPTY_ONNX, Buffer.from([0x12, salt.length]), Buffer.from(salt)]);

async function put(path: string, content: string | Uint8Array = EMPTY_ONNX): Promise<void> {
  const file = join(root, 'models', path);
  await mkdir(join(file, '..'), { recursive: true });
  await writeFile(file, content);
}

function manage(options: Partial<ModelManagerOptions> = {}, deps: Partial<ModelManagerDeps> = {}): ModelManager {
  return createModelManager(
    {
      repositories: [join(root, 'models')],
      dataDir: join(root, 'data'),
      controlMode: 'poll',
      pollIntervalMs: 1e9,
      ...options,
    },
    {
      pool: world,
      preflight: world,
      publish: (table) => world.publish(table),
      lastUsed: (model) => world.used.get(model) ?? 0,
      log: () => undefined,
      clock: () => 0,
      ...deps,
    },
  );
}

/** For as long as it takes: a disk may be slow. */
async function until(check: () => boolean): Promise<void> {
  while (!check()) await new Promise((resolve) => setImmediate(resolve));
}

async function index(manager: ModelManager, model: string): Promise<string[]> {
  const found = (await manager.repositoryIndex(false)).find(({ name }) => name === model);
  return (found?.versions ?? []).map(({ version, state, reason }) => `${version} ${state} ${reason}`.trim());
}

test('a new version is proven, loaded and published before the old one drains', async () => {
  await put('m/1/model.onnx');
  const manager = manage();
  await manager.start();
  await put('m/2/model.onnx');
  await manager.poll();
  assert.deepEqual(world.events, [
    'preflight m/1',
    'load m/1',
    'publish m:1',
    'preflight m/2',
    'load m/2',
    'publish m:2',
    'unload m/1',
  ]);
  assert.deepEqual(await index(manager, 'm'), ['1 UNAVAILABLE not chosen by version_policy', '2 READY']);
  await manager.stop();
});

test('a version that fails keeps the old one serving and says why; new content is tried again, old content is not', async () => {
  await put('m/1/model.onnx');
  const manager = manage();
  await manager.start();
  world.failPreflight.set('m/2', 'crashed with SIGSEGV while loading');
  await put('m/2/model.onnx', onnx('bad'));
  await manager.poll();
  assert.equal(world.serving(), 'm:1');
  assert.deepEqual(await index(manager, 'm'), [
    '1 READY',
    '2 UNAVAILABLE preflight failed: crashed with SIGSEGV while loading',
  ]);
  await put('m/labels.txt', 'touch');
  await put('m/2/model.onnx', onnx('good'));
  world.failPreflight.clear();
  await manager.poll();
  assert.equal(world.serving(), 'm:2');
});

test('changed content of the same version that fails leaves the loaded content serving', async () => {
  await put('m/1/model.onnx', onnx('a'));
  const manager = manage();
  await manager.start();
  const [{ handle }] = world.table.models.get('m')!.versions;
  world.failLoad.set('m/1', 'no');
  await put('m/1/model.onnx', onnx('bb'));
  await manager.poll();
  assert.equal(world.table.models.get('m')!.versions[0].handle, handle);
  await put('m/config.pbtxt', 'max_batchsize: 3');
  await manager.poll();
  assert.equal(world.table.models.get('m')!.versions[0].handle, handle);
});

test('at start the newest version that works serves; a broken configuration names file and line', async () => {
  await put('m/1/model.onnx');
  await put('m/2/model.onnx', 'not onnx');
  await put('broken/1/model.onnx');
  await put('broken/config.pbtxt', '\nmax_batchsize: 3');
  await put('nofile/1/readme.txt');
  const manager = manage();
  await manager.start();
  assert.equal(world.serving(), 'm:1');
  assert.match((await index(manager, 'm'))[1], /2 UNAVAILABLE the model file is not an ONNX model/);
  assert.match(
    (await index(manager, 'broken'))[0],
    /1 UNAVAILABLE broken\/config.pbtxt:2:1: unknown field "max_batchsize"/,
  );
  assert.match((await index(manager, 'nofile'))[0], /no backend is named/);
  const ready = await manager.repositoryIndex(true);
  assert.deepEqual(ready, [{ name: 'm', versions: [{ version: '1', state: 'READY', reason: '' }] }]);
});

test('verdicts are kept by content: a restart proves nothing again, another runtime does', async () => {
  await put('m/1/model.onnx');
  await manage().start();
  world = new World();
  await manage().start();
  assert.deepEqual(world.events, ['load m/1', 'publish m:1']);
  world = new World();
  await manage({ runtimeId: 'other' }).start();
  assert.equal(world.events[0], 'preflight m/1');
});

test('a removed model is unpublished, drained and forgotten', async () => {
  await put('m/1/model.onnx');
  const manager = manage();
  await manager.start();
  await rm(join(root, 'models/m'), { recursive: true });
  await manager.poll();
  assert.deepEqual(world.events.slice(-2), ['publish ', 'unload m/1']);
  assert.equal(world.table.models.size, 0);
});

/** A provided model whose files lie outside of every repository. */
async function provided(name: string, versions: readonly string[]): Promise<Map<string, ScannedModel>> {
  const directory = join(root, 'elsewhere', name);
  for (const version of ['1', '2']) {
    await mkdir(join(directory, version), { recursive: true });
    await writeFile(join(directory, version, 'model.onnx'), onnx(version));
  }
  const scanned = await scanModel(name, directory);
  const chosen = scanned.versions.filter(({ version }) => versions.includes(version));
  return new Map([[name, { ...scanned, versions: chosen, fingerprint: JSON.stringify(versions) }]]);
}

for (const controlMode of ['poll', 'explicit', 'none'] as const) {
  test(`provided models are followed at once in mode ${controlMode}, and back without being proven again`, async () => {
    await put('m/1/model.onnx');
    const manager = manage({ controlMode });
    await manager.provide(await provided('p', ['1']));
    await manager.start();
    assert.equal(world.table.models.get('p')?.versions[0].version, '1');
    await manager.provide(await provided('p', ['2']));
    assert.equal(world.table.models.get('p')?.versions[0].version, '2');
    world.events.length = 0;
    await manager.provide(await provided('p', ['1']));
    assert.equal(world.table.models.get('p')?.versions[0].version, '1');
    assert.deepEqual(world.events.slice(0, 1), ['load p/1']);
    await manager.poll();
    assert.equal(world.table.models.get('p')?.versions[0].version, '1');
    await manager.provide(new Map());
    assert.equal(world.table.models.has('p'), false);
    await manager.stop();
  });
}

test('what is provided while the manager starts, or while the same model goes, is served', async () => {
  const manager = manage();
  await manager.provide(await provided('p', ['1']));
  const starting = manager.start();
  await until(() => world.events.includes('preflight p/1'));
  await manager.provide(await provided('p', ['2']));
  await starting;
  assert.equal(world.serving(), 'p:2');
  const again = await provided('p', ['1']);
  const gone = manager.provide(new Map());
  await until(() => world.events.includes('unload p/2'));
  await Promise.all([gone, manager.provide(again)]);
  assert.equal(world.serving(), 'p:1');
  assert.deepEqual(await index(manager, 'p'), ['1 READY']);
  await manager.stop();
});

test('what is provided while the manager starts is served, though the index is asked before it is followed', async () => {
  let asked = false;
  let prove = (): void => undefined;
  const proven = new Promise<void>((resolve) => {
    prove = resolve;
  });
  const preflight: Preflight = {
    run: async (spec) => {
      asked = true;
      await proven;
      return world.run(spec);
    },
  };
  const manager = manage({ controlMode: 'explicit' }, { preflight });
  const one = await provided('p', ['1']);
  await manager.provide(one);
  const starting = manager.start();
  await until(() => asked);
  await manager.provide(new Map([...one, ...(await provided('q', ['1']))]));
  await manager.repositoryIndex(false);
  prove();
  await starting;
  assert.equal(world.table.models.get('q')?.versions[0].version, '1');
  await manager.stop();
});

test('what is provided is served, though the model went and came back while another version of it was loading', async () => {
  const manager = manage();
  await manager.start();
  const [one, two] = [await provided('p', ['1']), await provided('p', ['2'])];
  const loading = manager.provide(two);
  await until(() => world.events.includes('preflight p/2'));
  await Promise.all([loading, manager.provide(new Map()), manager.provide(one)]);
  assert.equal(world.serving(), 'p:1');
  assert.deepEqual(await index(manager, 'p'), ['1 READY']);
  await manager.stop();
});

test('a version that was foreseen is loaded without another proof, also while the proof is running', async () => {
  const manager = manage();
  await manager.provide(await provided('p', ['1']));
  await manager.start();
  world.events.length = 0;
  const next = await provided('p', ['2']);
  await Promise.all([manager.foresee(next.get('p')!), manager.provide(next)]);
  assert.equal(world.serving(), 'p:2');
  assert.equal(world.events.filter((event) => event.startsWith('preflight')).length, 1);
  world.failPreflight.set('q/1', 'crashed');
  await assert.rejects(manager.foresee((await provided('q', ['1'])).get('q')!), /crashed/);
  await manager.stop();
});

test('a provided version with a problem is refused with it, and what served before serves on', async () => {
  const manager = manage();
  await manager.provide(await provided('p', ['1']));
  await manager.start();
  const models = await provided('p', ['2']);
  const model = models.get('p')!;
  const [version] = model.versions;
  await manager.provide(new Map([['p', { ...model, versions: [{ ...version, problem: 'needs a GPU' }] }]]));
  assert.equal(world.serving(), 'p:1');
  assert.deepEqual(await index(manager, 'p'), ['1 READY', '2 UNAVAILABLE needs a GPU']);
  await manager.provide(new Map([['p', { ...model, fingerprint: 'mended' }]]));
  assert.equal(world.serving(), 'p:2');
  await manager.stop();
});

test('a name that a repository and the registry have is refused until one gives way', async () => {
  await put('p/1/model.onnx');
  const manager = manage();
  await manager.start();
  await manager.provide(await provided('p', ['2']));
  assert.equal(world.serving(), 'p:1');
  await rm(join(root, 'models', 'p'), { recursive: true });
  await manager.poll();
  assert.equal(world.serving(), 'p:2');
  await manager.stop();
});

test('three crashes in a minute quarantine the version, also for the next process; the last good one is loaded', async () => {
  await put('m/1/model.onnx');
  await put('m/2/model.onnx', onnx('2'));
  const manager = manage();
  await manager.start();
  const handle = world.table.models.get('m')!.versions[0].handle;
  assert.equal(await manager.versionCrashed(handle, 0), false);
  assert.equal(await manager.versionCrashed(handle, 61_000), false);
  assert.equal(await manager.versionCrashed(handle, 62_000), false);
  assert.equal(await manager.versionCrashed(handle, 63_000), true);
  assert.equal(world.serving(), 'm:1');
  assert.match((await index(manager, 'm'))[1], /^2 UNAVAILABLE quarantined: version 2 crashed or hung 3 times/);
  world = new World();
  const next = manage();
  await next.start();
  assert.equal(world.serving(), 'm:1');
  await put('m/2/model.onnx', onnx('fixed'));
  await next.poll();
  assert.equal(world.serving(), 'm:2');
});

test('a supervisor quarantines a version that was loaded last without a preflight, though it ended the process as it was loaded', async () => {
  await put('m/1/model.onnx');
  await put('m/config.pbtxt', 'parameters { key: "switchyard.preflight" value { string_value: "off" } }');
  const manager = manage();
  await manager.start();
  await new Promise((resolve) => setTimeout(resolve, 2));
  await put('proven/1/model.onnx');
  await manager.poll();
  await new Promise((resolve) => setTimeout(resolve, 2));
  await put('m/2/model.onnx', onnx('2'));
  const data = join(root, 'data');
  let quarantined: unknown;
  const load = world.load.bind(world);
  world.load = async (spec, handle) => {
    // The process may end here: what the next one needs is on the disk.
    quarantined = await quarantineNewest(data, 'the gateway crashed', Date.now(), 1e6);
    return load(spec, handle);
  };
  await manager.poll();
  assert.ok(!world.events.includes('preflight m/2'));
  assert.deepEqual(quarantined, { model: 'm', version: '2' });
  world = new World();
  await manage().start();
  assert.equal(world.serving(), 'm:1 proven:1');
});

test('a supervisor quarantines the version proven last', async () => {
  await put('m/1/model.onnx');
  const manager = manage();
  await manager.start();
  await put('m/2/model.onnx', onnx('2'));
  await new Promise((resolve) => setTimeout(resolve, 2));
  await manager.poll();
  const data = join(root, 'data');
  assert.equal(await quarantineNewest(data, 'x', Date.now() + 1e9, 1000), undefined);
  assert.deepEqual(await quarantineNewest(data, 'the gateway crashed', Date.now(), 1e6), { model: 'm', version: '2' });
  world = new World();
  await manage().start();
  assert.equal(world.serving(), 'm:1');
});

test('explicit mode: load, reload with files, failed reload, unload', async () => {
  await put('m/1/model.onnx');
  await put('other/1/model.onnx');
  const manager = manage({ controlMode: 'explicit', startupModels: ['other'] });
  await manager.start();
  assert.equal(world.serving(), 'other:1');
  assert.deepEqual(await index(manager, 'm'), ['1 UNAVAILABLE unloaded']);
  await manager.load('m', '', new Map());
  assert.equal(world.serving(), 'm:1 other:1');
  await manager.load('m', '{"maxBatchSize": 4}', new Map([['7/model.onnx', onnx('inline')]]));
  assert.equal(world.serving(), 'm:7 other:1');
  assert.equal(world.table.models.get('m')!.versions[0].config.signature.maxBatchSize, 4);
  world.failLoad.set('m/8', 'no memory');
  await assert.rejects(manager.load('m', '', new Map([['8/model.onnx', onnx('x')]])), {
    code: 'failed_precondition',
    message: /failed to load 'm', .*no memory/,
  });
  assert.equal(world.serving(), 'm:7 other:1');
  await assert.rejects(manager.load('m', '{"max_batchsize": 4}', new Map()), {
    code: 'invalid_argument',
    message: /max_batch_size/,
  });
  await assert.rejects(manager.load('../m', '', new Map()), { code: 'invalid_argument' });
  await assert.rejects(manager.load('nope', '', new Map()), { code: 'not_found' });
  await assert.rejects(manager.unload('nope', false), { code: 'not_found' });
  await put('late/1/model.onnx');
  await manager.load('late', '', new Map());
  await manager.load('m', '', new Map());
  assert.equal(world.serving(), 'late:1 m:1 other:1');
  await manager.unload('m', false);
  assert.equal(world.serving(), 'late:1 other:1');
  await assert.rejects(manager.demand('m'), { code: 'unavailable', message: /unloaded/ });
});

test('other modes refuse load and unload', async () => {
  const manager = manage({ controlMode: 'none' });
  await manager.start();
  await assert.rejects(manager.load('m', '', new Map()), { code: 'failed_precondition', message: /mode "none"/ });
  await assert.rejects(manager.unload('m', true), { code: 'failed_precondition' });
});

const ENSEMBLE = (model: string) => `platform: "ensemble" max_batch_size: 8
  input { name: "A" data_type: TYPE_FP32 dims: 3 } output { name: "Z" data_type: TYPE_FP32 dims: 3 }
  ensemble_scheduling { step { model_name: "${model}"
    input_map { key: "in" value: "A" } output_map { key: "out" value: "Z" } } }`;

test('an ensemble loads what it composes, goes with it, and takes it along when told', async () => {
  await put('m/1/model.onnx');
  await put('e/config.pbtxt', ENSEMBLE('m'));
  await put('bad/config.pbtxt', ENSEMBLE('gone'));
  const manager = manage({ controlMode: 'explicit' });
  await manager.start();
  await manager.load('e', '', new Map());
  assert.equal(world.serving(), 'e:1 m:1');
  await assert.rejects(
    manager.load('bad', '', new Map()),
    /failed to load 'bad', depends on model "gone", which is not available/,
  );
  await manager.unload('m', false);
  assert.equal(world.serving(), '');
  assert.deepEqual(await index(manager, 'e'), ['1 UNAVAILABLE depends on model "m", which is not available']);
  await manager.load('m', '', new Map());
  assert.equal(world.serving(), 'e:1 m:1');
  await manager.unload('e', true);
  assert.equal(world.serving(), '');
});

test('a version that cannot be run says why in the index, and so does what composes it; requests take the highest that can', async () => {
  await put('m/1/model.onnx');
  await put('m/2/model.onnx', onnx('2'));
  await put('m/config.pbtxt', 'platform: "onnxruntime_onnx" version_policy { all {} }');
  await put('e/config.pbtxt', ENSEMBLE('m'));
  await put('f/config.pbtxt', ENSEMBLE('e').replace('"in"', '"A"').replace('"out"', '"Z"'));
  const manager = manage();
  await manager.start();
  const model = () => world.table.models.get('m')!;
  const chosen = () => chosenVersion(model())?.version;
  const [second, first] = model().versions;
  assert.equal(chosen(), '2');
  await manager.executorsChanged(second.handle, [0], 'its process crashed');
  assert.deepEqual(await index(manager, 'm'), ['1 READY', '2 UNAVAILABLE its process crashed']);
  assert.deepEqual(
    [isModelReady(model()), isModelReady(model(), '1'), isModelReady(model(), '2')],
    [true, true, false],
  );
  assert.equal(chosen(), '1');
  assert.deepEqual(await index(manager, 'f'), ['1 READY'], 'version 1 takes the step');
  await manager.executorsChanged(first.handle, [0], 'its server is away');
  assert.equal(world.serving(), 'e:1 f:1 m:2,1', 'it is loaded all the same');
  assert.deepEqual([isModelReady(model()), chosen()], [false, '2']);
  const inner = 'composes model "m", which is not ready: its server is away';
  assert.deepEqual(await index(manager, 'e'), [`1 UNAVAILABLE ${inner}`]);
  assert.deepEqual(await index(manager, 'f'), [`1 UNAVAILABLE composes model "e", which is not ready: ${inner}`]);
  assert.equal(isModelReady(world.table.models.get('f')!), false);
  await manager.executorsChanged(first.handle, [1], '');
  assert.deepEqual(world.table.models.get('m')!.versions[1].executors, [1]);
  assert.equal(isModelReady(world.table.models.get('f')!, '1'), true);
});

test('ensembles that name each other do not hang each other', async () => {
  await put('a/config.pbtxt', ENSEMBLE('b'));
  await put('b/config.pbtxt', ENSEMBLE('a'));
  const manager = manage({ controlMode: 'explicit' });
  await manager.start();
  const results = await Promise.allSettled([manager.load('a', '', new Map()), manager.load('b', '', new Map())]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  assert.match((await index(manager, 'a'))[0], /contains itself/);
});

test('a remote model needs no files and no preflight', async () => {
  await put('far/config.yaml', 'backend: triton\nparameters: {url: "127.0.0.1:1"}\n');
  const manager = manage();
  await manager.start();
  assert.deepEqual(world.events, ['load far/1', 'publish far:1']);
});

const AWAY = new SwitchyardError('unavailable', 'the remote server cannot be reached');

const loadsOf = (model: string) => world.events.filter((event) => event === `load ${model}/1`).length;

/** Waits for the model's load number `count`, and for what follows a load without timer or disk. */
async function untilLoads(model: string, count: number): Promise<void> {
  await until(() => loadsOf(model) >= count);
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(loadsOf(model), count);
}

test('a load request may not send the server to a host that is not listed; a repository may', async () => {
  await put('far/config.yaml', 'backend: triton\nparameters: {url: "10.0.0.1:8001"}\n');
  const manager = manage({ controlMode: 'explicit', startupModels: ['far'], remoteHosts: ['big'] });
  await manager.start();
  assert.equal(world.serving(), 'far:1');
  const sent = (url: string) => JSON.stringify({ backend: 'triton', parameters: { url: { string_value: url } } });
  const before = [...world.events];
  for (const files of [new Map(), new Map([['1/x', onnx('x')]])]) {
    await assert.rejects(manager.load('far', sent('10.0.0.1:8001'), files), {
      code: 'permission_denied',
      message: /"10\.0\.0\.1:8001"/,
    });
  }
  assert.deepEqual(world.events, before);
  await manager.load('far', '', new Map());
  await manager.load('far', sent('big:8001,127.0.0.1:1'), new Map());
  assert.equal(world.table.models.get('far')?.versions[0].config.parameters.url, 'big:8001,127.0.0.1:1');
});

/** Timers that a test moves by hand. */
class Timers {
  private now = 0;
  private readonly tasks = new Set<{ at: number; run: () => void }>();

  readonly later = (ms: number, run: () => void): (() => void) => {
    const task = { at: this.now + ms, run };
    this.tasks.add(task);
    return () => this.tasks.delete(task);
  };

  get armed(): boolean {
    return this.tasks.size > 0;
  }

  tick(ms: number): void {
    this.now += ms;
    for (const task of this.tasks) if (task.at <= this.now && this.tasks.delete(task)) task.run();
  }
}

test('a version whose server is away is tried again, less and less often, and served when it is back', async () => {
  const timers = new Timers();
  await put('far/config.yaml', 'backend: triton\nparameters: {url: "127.0.0.1:1"}\n');
  world.failLoad.set('far/1', AWAY);
  const manager = manage({ controlMode: 'none' }, { later: timers.later });
  await manager.start();
  assert.deepEqual(await index(manager, 'far'), ['1 UNAVAILABLE the remote server cannot be reached']);
  let loads = 1;
  for (const wait of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    await until(() => timers.armed);
    timers.tick(wait - 1);
    await untilLoads('far', loads);
    timers.tick(1);
    await untilLoads('far', ++loads);
  }
  world.failLoad.clear();
  await until(() => timers.armed);
  timers.tick(30_000);
  await untilLoads('far', ++loads);
  await until(() => world.serving() === 'far:1');
  timers.tick(120_000);
  await untilLoads('far', loads);
  await manager.stop();
});

test('a failure that may pass is retried for local models too; bad content is not, and nothing is after the end', async () => {
  const timers = new Timers();
  await put('passing/1/model.onnx', onnx('passing'));
  await put('bad/1/model.onnx', onnx('bad'));
  world.failLoad.set('passing/1', AWAY);
  world.failLoad.set('bad/1', 'no such operator');
  const manager = manage({ controlMode: 'none' }, { later: timers.later });
  await manager.start();
  await until(() => timers.armed);
  timers.tick(1000);
  await untilLoads('passing', 2);
  await until(() => timers.armed);
  timers.tick(2000);
  await untilLoads('passing', 3);
  assert.equal(loadsOf('bad'), 1);
  await manager.stop();
  timers.tick(60_000);
  await untilLoads('passing', 3);
});

test('a model unloaded while its server is away is not tried again', async () => {
  const timers = new Timers();
  await put('far/config.yaml', 'backend: triton\nparameters: {url: "127.0.0.1:1"}\n');
  world.failLoad.set('far/1', AWAY);
  const manager = manage({ controlMode: 'explicit' }, { later: timers.later });
  await manager.start();
  await assert.rejects(manager.load('far', '', new Map()), {
    code: 'failed_precondition',
    message: /cannot be reached/,
  });
  await manager.unload('far', false);
  timers.tick(60_000);
  await untilLoads('far', 1);
  await manager.stop();
});

/** Three models of one "unit" each (by estimate), and room for two. */
async function threeModels(): Promise<Partial<ModelManagerOptions>> {
  for (const name of ['a', 'b', 'c']) await put(`${name}/1/model.onnx`, onnx(name));
  world.bytes = 600_000;
  return { memoryBudgetBytes: 1_300_000 };
}

test('models beyond the budget cost nothing until asked for; then the least recently used goes', async () => {
  const manager = manage(await threeModels());
  await manager.start();
  assert.equal(world.serving(), 'a:1 b:1');
  assert.equal(world.table.models.get('c')!.onDemand, true);
  assert.equal(
    world.events.some((event) => event.includes('c/1')),
    false,
  );
  assert.match((await index(manager, 'c'))[0], /first request loads it/);
  world.used.set('a', 5);
  world.used.set('b', 2);
  await Promise.all([manager.demand('c'), manager.demand('c')]);
  assert.equal(world.serving(), 'a:1 c:1');
  assert.ok(world.events.indexOf('unload b/1') < world.events.indexOf('load c/1'));
  assert.equal(world.table.models.get('b')!.onDemand, true);
  await assert.rejects(manager.demand('x'), { code: 'not_found' });
});

test('pinned models stay, and a model that cannot fit says so', async () => {
  const manager = manage({ ...(await threeModels()), pinned: ['a', 'b'] });
  await manager.start();
  await assert.rejects(manager.demand('c'), { code: 'unavailable', message: /no memory is free/, retryAfterMs: 1000 });
  const tiny = manage({ memoryBudgetBytes: 1000 });
  world = new World();
  await tiny.start();
  await assert.rejects(tiny.demand('a'), { code: 'unavailable', message: /needs about \d+ bytes/ });
});

test('a model that turns out larger than its files evicts others afterwards', async () => {
  const manager = manage(await threeModels());
  await manager.start();
  world.bytes = 1_200_000;
  await manager.demand('c');
  await manager.stop();
  assert.equal(world.serving(), 'c:1');
});

test('a thousand models at start publish a few tables, and beyond the budget cost no load', async () => {
  for (let i = 0; i < 300; i++) await put(`m${i}/1/model.onnx`);
  const limited = manage({ memoryBudgetBytes: 6_000_000 });
  await limited.start();
  assert.ok(world.held.size <= 11, `${world.held.size} loaded`);
  assert.equal(world.events.filter((event) => event.startsWith('preflight')).length, world.held.size);
  world = new World();
  await manage({ preflight: false, parallelLoads: 64 }).start();
  assert.equal(world.held.size, 300);
  assert.ok(world.publishes <= 100, `${world.publishes} tables`);
});

test('a data directory that cannot be written costs no model and no quarantine', async () => {
  await put('m/1/model.onnx');
  await put('m/2/model.onnx', onnx('2'));
  await writeFile(join(root, 'data'), 'a file where a folder belongs');
  const warnings: string[] = [];
  const manager = manage({}, { log: (level, message) => void (level === 'warn' && warnings.push(message)) });
  await manager.start();
  assert.equal(world.serving(), 'm:2');
  const { handle } = world.table.models.get('m')!.versions[0];
  for (const when of [1, 2, 3]) await manager.versionCrashed(handle, when);
  assert.equal(world.serving(), 'm:1');
  assert.ok(warnings.some((warning) => warning.includes('keeping the quarantine failed on disk')));
});

test('any mixture of concurrent operations keeps the rules and ends within the budget', async () => {
  const names = ['a', 'b', 'c', 'd'];
  const operation = fc.record({
    kind: fc.constantFrom('load', 'unload', 'demand', 'crash', 'fail', 'heal', 'files'),
    model: fc.constantFrom(...names),
    wait: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 25 }), async (operations) => {
      await rm(join(root, 'models'), { recursive: true, force: true });
      await rm(join(root, 'data'), { recursive: true, force: true });
      for (const name of names) await put(`${name}/1/model.onnx`, onnx(name));
      world = new World();
      world.bytes = 600_000;
      const manager = manage({ controlMode: 'explicit', startupModels: ['*'], memoryBudgetBytes: 1_300_000 });
      await manager.start();
      const running: Promise<unknown>[] = [];
      const perform = ({ kind, model }: { kind: string; model: string }): Promise<unknown> => {
        if (kind === 'load') return manager.load(model, '', new Map());
        if (kind === 'files') return manager.load(model, '', new Map([['2/model.onnx', onnx('override')]]));
        if (kind === 'unload') return manager.unload(model, false);
        if (kind === 'demand') return manager.demand(model);
        if (kind === 'fail') world.failLoad.set(`${model}/1`, 'no');
        if (kind === 'heal') world.failLoad.delete(`${model}/1`);
        const handle = world.table.models.get(model)?.versions[0]?.handle ?? -1;
        return kind === 'crash' ? manager.versionCrashed(handle, 0) : Promise.resolve();
      };
      for (const operation of operations) {
        const result = perform(operation).catch((error: unknown) => {
          assert.ok(error instanceof Error && error.name === 'SwitchyardError', String(error));
        });
        running.push(result);
        if (operation.wait) await result;
      }
      await Promise.all(running);
      await manager.stop();
      const published = [...world.table.models.values()].flatMap((model) => model.versions.map(({ handle }) => handle));
      assert.deepEqual(published.sort(), [...world.held.keys()].sort(), 'what is held is what is served');
      assert.ok(world.held.size * world.bytes <= 1_300_000 * 2, `${world.held.size} models held`);
    }),
    { numRuns: 25 },
  );
});
