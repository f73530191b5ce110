import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SwitchyardError } from '../shared/errors.ts';
import { RemoteMirror, RemoteMirrors, type RemoteModel, type RemoteSource } from './remotes.ts';
import { scanRepositories } from './repository/scan.ts';
import { readSource } from './source.ts';

const scratch = await mkdtemp(join(tmpdir(), 'switchyard-remotes-'));
after(() => rm(scratch, { recursive: true }));
let folders = 0;

const source: RemoteSource = { name: 'big', url: '127.0.0.1:8001', backend: 'triton', refreshMs: 3_600_000 };
const remoteModel = (name: string, over: Partial<RemoteModel> = {}): RemoteModel => ({
  name,
  versions: ['1'],
  maxBatchSize: 0,
  decoupled: false,
  ...over,
});

/** A mirror over a server whose answer a test sets. */
async function mirrored(answer: { models: RemoteModel[] | Error }, over: Partial<RemoteSource> = {}, folder = '') {
  const repository = folder || join(scratch, String(folders++));
  const log: string[] = [];
  const asked: string[] = [];
  const mirror = new RemoteMirror({ ...source, ...over }, repository, {
    discover: async (url) => {
      asked.push(url);
      if (answer.models instanceof Error) throw answer.models;
      return answer.models;
    },
    log: (level, message) => log.push(`${level}: ${message}`),
  });
  await mirror.prepare();
  await mirror.refresh();
  return { mirror, repository, log, asked };
}

async function names(repository: string): Promise<string[]> {
  const { models, warnings } = await scanRepositories([repository]);
  assert.deepEqual(warnings, []);
  return [...models.keys()].sort();
}

async function read(repository: string, name: string) {
  const { models } = await scanRepositories([repository]);
  const scanned = models.get(name);
  assert.ok(scanned);
  return readSource({ scanned, configJson: '' }, { gpus: 0, defaultIsolation: 'thread' });
}

test('what the server has becomes a repository that the manager can read, versions and all', async () => {
  const models = [
    remoteModel('sum', { versions: ['2', '10'], maxBatchSize: 8 }),
    remoteModel('chat', { decoupled: true }),
    remoteModel('unversioned', { versions: [''] }),
  ];
  const { repository, asked } = await mirrored({ models }, { backend: 'kserve' });
  assert.deepEqual(asked, ['127.0.0.1:8001']);
  assert.deepEqual(await names(repository), ['chat', 'sum', 'unversioned']);
  const sum = await read(repository, 'sum');
  assert.deepEqual(
    sum.versions.map(({ version, directory }) => [version, directory]),
    [
      ['2', ''],
      ['10', ''],
    ],
  );
  assert.equal(sum.config.backend, 'kserve');
  assert.equal(sum.config.signature.maxBatchSize, 8);
  assert.equal(sum.config.batching.enabled, false);
  assert.deepEqual(sum.config.versionPolicy, { kind: 'all' });
  assert.deepEqual({ ...sum.config.parameters }, { url: '127.0.0.1:8001', remote_version: 'same' });
  assert.equal((await read(repository, 'chat')).config.decoupled, true);
  const unversioned = await read(repository, 'unversioned');
  assert.deepEqual({ ...unversioned.config.parameters }, { url: '127.0.0.1:8001' });
  assert.deepEqual(
    unversioned.versions.map(({ version }) => version),
    ['1'],
  );
});

test('an unchanged model keeps its fingerprint; a change of versions or configuration changes it', async () => {
  const answer = { models: [remoteModel('a', { versions: ['1'] })] };
  const { mirror, repository } = await mirrored(answer);
  const print = async () => (await scanRepositories([repository])).models.get('a')?.fingerprint;
  const first = await print();
  await mirror.refresh();
  assert.equal(await print(), first);
  answer.models = [remoteModel('a', { versions: ['2'] })];
  await mirror.refresh();
  const second = await print();
  assert.notEqual(second, first);
  assert.deepEqual(
    (await read(repository, 'a')).versions.map(({ version }) => version),
    ['2'],
  );
  answer.models = [remoteModel('a', { versions: ['2'], maxBatchSize: 4 })];
  await mirror.refresh();
  assert.notEqual(await print(), second);
});

test('a model goes when two looks in a row miss it; one look is not enough', async () => {
  const both = [remoteModel('a'), remoteModel('b')];
  const answer = { models: both };
  const { mirror, repository } = await mirrored(answer);
  answer.models = [remoteModel('a')];
  await mirror.refresh();
  assert.deepEqual(await names(repository), ['a', 'b']);
  answer.models = both;
  await mirror.refresh();
  answer.models = [remoteModel('a')];
  await mirror.refresh();
  assert.deepEqual(await names(repository), ['a', 'b'], 'the count starts over once it was there again');
  await mirror.refresh();
  assert.deepEqual(await names(repository), ['a']);
});

test('a server that is away keeps what was mirrored last, also across a restart, and is told once', async () => {
  const answer: { models: RemoteModel[] | Error } = { models: [remoteModel('a')] };
  const { mirror, repository, log } = await mirrored(answer);
  answer.models = new SwitchyardError('unavailable', 'the remote server cannot be reached');
  for (let i = 0; i < 3; i++) await mirror.refresh();
  assert.deepEqual(await names(repository), ['a']);
  assert.deepEqual(log, [
    'warn: remote "big" cannot be looked through, its models stay as they are: the remote server cannot be reached',
  ]);
  await mirrored(answer, {}, repository);
  assert.deepEqual(await names(repository), ['a']);
  answer.models = [remoteModel('b')];
  await mirror.refresh();
  assert.equal(log.at(-1), 'info: remote "big" answers again');
});

test('a mirror of another address starts empty', async () => {
  const { repository } = await mirrored({ models: [remoteModel('a')] });
  await mirrored({ models: new Error('away') }, { url: '127.0.0.1:9001' }, repository);
  assert.deepEqual(await names(repository), []);
});

test('a name that is no safe folder name is refused and nothing is written outside the repository', async () => {
  const bad = ['../escape', '/absolute', '.source.json', 'constructor', 'a/b', ''];
  const { mirror, repository, log } = await mirrored({
    models: [...bad.map((name) => remoteModel(name)), remoteModel('good')],
  });
  await mirror.refresh();
  assert.deepEqual(await names(repository), ['good']);
  assert.equal(log.length, bad.length);
  await assert.rejects(stat(join(scratch, 'escape')), { code: 'ENOENT' });
});

test('a name that a local repository has too is the error of two repositories', async () => {
  const local = join(scratch, 'local');
  await mkdir(join(local, 'a', '1'), { recursive: true });
  const { repository } = await mirrored({ models: [remoteModel('a')] });
  const { models } = await scanRepositories([local, repository]);
  assert.match(models.get('a')?.error ?? '', /is in two repositories, 1 \("local"\) and 2 /);
});

test('start fills every repository, waits for no silent server, and removes mirrors nobody asks for any more', async () => {
  const folder = join(scratch, 'all');
  await mkdir(join(folder, 'old', 'model'), { recursive: true });
  await writeFile(join(folder, 'old', 'model', 'config.yaml'), 'backend: triton\n');
  let answerLate: ((models: RemoteModel[]) => void) | undefined;
  const late = new Promise<RemoteModel[]>((resolve) => {
    answerLate = resolve;
  });
  const mirrors = new RemoteMirrors([source, { ...source, name: 'mute', url: '127.0.0.1:2' }], folder, {
    discover: (url) => (url === source.url ? Promise.resolve([remoteModel('a')]) : late),
    log: () => {},
  });
  assert.deepEqual(mirrors.repositories, [join(folder, 'big'), join(folder, 'mute')]);
  await mirrors.start(50);
  assert.deepEqual(await names(join(folder, 'big')), ['a']);
  assert.deepEqual(await names(join(folder, 'mute')), []);
  await assert.rejects(stat(join(folder, 'old')), { code: 'ENOENT' });
  mirrors.stop();
  answerLate?.([remoteModel('z')]);
  await late;
  assert.deepEqual(await names(join(folder, 'mute')), [], 'a stopped mirror changes nothing');
  assert.match(await readFile(join(folder, 'big', 'a', 'config.yaml'), 'utf8'), /^# Written from remote "big"/);
});
