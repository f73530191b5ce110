// biome-ignore-all lint/suspicious/noTemplateCurlyInString: expressions of documents
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ConfigError } from '../../config/yaml-file.ts';
import { PipelineBook } from './book.ts';
import { cacheKey, canonicalJson } from './cache-key.ts';
import { pipelineProblems, resolvePipeline, runParameters } from './check.ts';
import { environmentSchema } from './document.ts';
import { nextSteps, type StepStatus } from './graph.ts';
import { loadPipelineFiles } from './load.ts';

const folder = mkdtempSync(join(tmpdir(), 'pipelines-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const HEAD = 'apiVersion: switchyard/v1\nkind: Pipeline\nmetadata: {name: p}\n';
const problemsOf = (name: string, text: string): string[] => {
  try {
    loadPipelineFiles([write(name, text)]);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.problems.map((line) => line.slice(folder.length + 1));
  }
};
const pipeline = (steps: object[], parameters = {}) => ({
  apiVersion: 'switchyard/v1',
  kind: 'Pipeline',
  metadata: { name: 'p' },
  spec: { parameters, steps },
});
const environment = (name: string, spec: object = {}) => ({
  name,
  spec: environmentSchema.parse({ apiVersion: 'switchyard/v1', kind: 'PipelineEnvironment', metadata: { name }, spec })
    .spec,
});
const INGEST = { name: 'data', ingest: { source: 'a.csv' } };

test('mistakes are named with file, line and column, all at once', () => {
  const text = `${HEAD}spec:
  parameters: {rows: 3}
  steps:
    - name: data
      ingest: {source: a.csv, sauce: b}
    - name: parts
      split: {data: dat, parts: {train: 0.8, test: 0.3}}
    - name: parts
      validate: {data: parts.left, schema: {columns: {a: {type: text}}}}
    - name: odd
      ingest: {source: "\${parameters.row}"}
      gate: {evaluation: data, rules: [{metric: accuracy}]}
`;
  const problems = problemsOf('many.yaml', text);
  const has = (pattern: RegExp) =>
    assert.ok(
      problems.some((line) => pattern.test(line)),
      `${pattern} in\n${problems.join('\n')}`,
    );
  has(/many.yaml:8:\d+: spec.steps.0.ingest.sauce: unknown setting/);
  has(/many.yaml:10:\d+: spec.steps.1.split.data: there is no step "dat"; the steps are data, parts, odd/);
  has(/many.yaml:10:\d+: spec.steps.1.split.parts: at least two shares that sum up to 1/);
  has(/many.yaml:11:\d+: spec.steps.2.name: there is another step "parts"/);
  has(/many.yaml:14:\d+: spec.steps.3.ingest.source: there is no parameter row; the parameters are rows/);
  has(/spec.steps.3: a step does exactly one of .* this one has ingest and gate/);
  has(/spec.steps.3.gate.rules.0.op: missing: give op and value, or vs: champion/);
});

test('cycles are refused with their way', () => {
  const problems = pipelineProblems(
    pipeline([
      { name: 'a', needs: ['c'], ingest: { source: 'a.csv' } },
      { name: 'b', validate: { data: 'a' } },
      { name: 'c', validate: { data: 'b' } },
    ]),
  );
  assert.equal(problems.length, 1);
  assert.match(problems[0].message, /wait for one another: a → c → b → a; take one/);
  const own = pipelineProblems(pipeline([{ name: 'a', validate: { data: 'a' } }]));
  assert.match(own.map(({ message }) => message).join(), /a → a/);
});

test('references must fit what the other step gives', () => {
  const messages = (step: object) =>
    pipelineProblems(pipeline([INGEST, { name: 's', split: { data: 'data', parts: { a: 0.5, b: 0.5 } } }, step])).map(
      ({ message }) => message,
    );
  assert.match(messages({ name: 'x', validate: { data: 's' } })[0], /gives a, b; say which one: s.a/);
  assert.match(messages({ name: 'x', validate: { data: 's.c' } })[0], /has no output "c"; it gives a, b/);
  assert.match(
    messages({ name: 'x', deploy: { version: 'data' } })[0],
    /does ingest, and version takes what register steps give/,
  );
  assert.deepEqual(messages({ name: 'x', validate: { data: 's.b' } }), []);
});

test('expressions take parameters and the environment, and keep their types', () => {
  const raw = pipeline(
    [
      { name: 'data', ingest: { source: '${environment.data.digits}/x.csv' } },
      { name: 's', split: { data: 'data', parts: { a: 0.5, b: 0.5 }, seed: '${parameters.seed}' } },
      { name: 'j', run: { job: { command: ['python', 'x.py'], files: { 'x.sh': 'echo ${parameters.seed}' } } } },
    ],
    { seed: 3 },
  );
  assert.deepEqual(pipelineProblems(raw), []);
  const production = environment('production', {
    data: { digits: '/srv' },
    job: { runner: 'kubernetes', resources: { cpu: 4 } },
  });
  const { spec } = resolvePipeline(raw, { parameters: { seed: 9 }, environment: production });
  assert.deepEqual(spec.steps[0].ingest?.source, '/srv/x.csv');
  assert.equal(spec.steps[1].split?.seed, 9);
  assert.deepEqual(spec.steps[2].run?.job, {
    command: ['python', 'x.py'],
    files: { 'x.sh': 'echo ${parameters.seed}' },
    runner: 'kubernetes',
    resources: { cpu: 4 },
  });
  assert.throws(
    () => resolvePipeline(raw, { parameters: { seed: 9 }, environment: environment('bare') }),
    /environment.data.digits\} has no value in the environment bare; add it/,
  );
  assert.throws(
    () => resolvePipeline(raw, { parameters: { seed: 'x' }, environment: production }),
    /spec.steps.1.split.seed: /,
  );
});

test('parameters are checked, and texts of the command line become their type', () => {
  const declared = {
    rate: 0.1,
    name: 'x',
    mode: { type: 'string' as const, values: ['a', 'b'] },
    n: { type: 'integer' as const },
  };
  assert.deepEqual(runParameters(declared, { rate: '0.5', mode: 'a', n: '3' }), {
    rate: 0.5,
    name: 'x',
    mode: 'a',
    n: 3,
  });
  assert.throws(() => runParameters(declared, { mode: 'a' }), /parameter n has no default; give it/);
  assert.throws(() => runParameters(declared, { mode: 'c', n: 1 }), /"c" is not allowed; allowed: a, b/);
  assert.throws(() => runParameters(declared, { mode: 'a', n: 1.5 }), /must be of type integer/);
  assert.throws(
    () => runParameters(declared, { speed: 1 }),
    /"speed" is not known; the pipeline has rate, name, mode, n/,
  );
});

test('code lies beside the file and travels inside the document', () => {
  mkdirSync(join(folder, 'code/sub'), { recursive: true });
  writeFileSync(join(folder, 'code/train.py'), 'print(1)\n');
  writeFileSync(join(folder, 'code/sub/more.py'), 'pass\n');
  writeFileSync(join(folder, 'code/blob.bin'), Buffer.from([0xff, 0xfe, 0x00]));
  const step = (code: string) => `${HEAD}spec: {steps: [{name: t, run: {job: {command: [python]}, code: ${code}}}]}\n`;
  const set = loadPipelineFiles([write('code.yaml', step('{folder: code, files: [train.py, sub/more.py]}'))]);
  const { steps } = set.pipelines.get('p')!.document.spec as { steps: { run: { job: { files: object } } }[] };
  assert.deepEqual(steps[0].run.job.files, { 'train.py': 'print(1)\n', 'sub/more.py': 'pass\n' });
  assert.match(
    problemsOf('bin.yaml', step('{folder: code}'))[0],
    /bin.yaml:4:\d+: spec.steps.0.run.code: files: blob.bin: is no text/,
  );
  assert.match(problemsOf('out.yaml', step('{folder: code, files: [../x]}'))[0], /leads out of the folder/);
  assert.match(problemsOf('no.yaml', step('{folder: none}'))[0], /folder: ENOENT/);
});

test('documents of several kinds are checked with one another', () => {
  write(
    'set.yaml',
    `${HEAD}spec: {steps: [{name: data, ingest: {source: a.csv}}]}
---
apiVersion: switchyard/v1
kind: Trigger
metadata: {name: nightly}
spec: {pipeline: q, environment: moon, when: {schedule: {cron: "0 3 * * *"}}}
`,
  );
  const book = new PipelineBook(['set.yaml'], folder, 'development');
  assert.throws(() => book.readFiles(), /Trigger nightly: there is no pipeline "q"; there are p/);
  const api = new PipelineBook([], folder, 'development');
  const body = pipeline([INGEST]);
  api.change([{ kind: 'Pipeline', name: 'p', body }], false);
  assert.deepEqual([...api.set.pipelines.keys()], ['p']);
  assert.throws(() => api.change([{ kind: 'Pipeline', name: 'q', body: undefined }], false), /there is no Pipeline q/);
  assert.throws(
    () => api.change([{ kind: 'Pipeline', name: 'p', body: pipeline([{ name: 'x', ingest: {} }]) }], false),
    /spec.steps.0.ingest.source/,
  );
});

test('steps begin when what they need is done, no more at once than allowed, and none after a failure', () => {
  const steps = [
    { name: 'a', ingest: {} },
    { name: 'b', ingest: {} },
    { name: 'c', needs: ['a'], validate: { data: 'b' } },
  ];
  const next = (status: Record<string, StepStatus>, most = 4) =>
    nextSteps(steps, new Map(Object.entries(status)), most);
  assert.deepEqual(next({}), { begin: ['a', 'b'], over: undefined });
  assert.deepEqual(next({}, 1), { begin: ['a'], over: undefined });
  assert.deepEqual(next({ a: 'skipped', b: 'running' }), { begin: [], over: undefined });
  assert.deepEqual(next({ a: 'skipped', b: 'succeeded' }), { begin: ['c'], over: undefined });
  assert.deepEqual(next({ a: 'failed', b: 'running' }), { begin: [], over: undefined });
  assert.deepEqual(next({ a: 'failed', b: 'succeeded' }), { begin: [], over: 'failed' });
  assert.deepEqual(next({ a: 'held', b: 'succeeded' }), { begin: [], over: 'held' });
  assert.deepEqual(next({ a: 'skipped', b: 'succeeded', c: 'succeeded' }), { begin: [], over: 'succeeded' });
});

test('the same facts make the same key, in whatever order they are written', () => {
  assert.equal(canonicalJson({ b: [1, { d: 2, c: undefined }], a: 'x' }), '{"a":"x","b":[1,{"d":2}]}');
  const key = (body: object, inputs: Record<string, string>) => cacheKey({ kind: 'split', body, inputs });
  assert.equal(
    key({ seed: 1, parts: { a: 0.5, b: 0.5 } }, { data: 'x' }),
    key({ parts: { b: 0.5, a: 0.5 }, seed: 1 }, { data: 'x' }),
  );
  assert.notEqual(key({ seed: 1 }, { data: 'x' }), key({ seed: 1 }, { data: 'y' }));
});
