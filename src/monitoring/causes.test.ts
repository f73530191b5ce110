import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { MonitorsUnderTest } from '../testing/monitors.ts';
import { mlflowFiles } from '../testing/registry-client.ts';
import { until } from '../testing/script-models.ts';
import type { Lineage } from './lineage.ts';
import type { RetrainingRow } from './retraining-store.ts';

/**
 * Every cause of a retraining from its event to the registry's job, with what holds it back. Jobs are real processes.
 */
const WAIT_MS = 240_000;
/** Jobs of `again` wait for the file, then fail: retraining is in vain. `strict` has data that does not pass. */
const PIPELINES = `apiVersion: switchyard/v1
kind: Pipeline
metadata: {name: again}
spec:
  parameters: {data: {type: string}, go: {type: string}}
  steps:
    - name: rows
      ingest: {source: ["\${parameters.data}"]}
    - name: train
      run:
        job:
          command: [sh, run.sh]
          files: {run.sh: 'test -s inputs/rows.csv || exit 4; while [ ! -f "$GO" ]; do sleep 0.1; done; exit 3'}
          env: {GO: "\${parameters.go}"}
          graceSeconds: 1
        inputs: {rows: rows}
        outputs: {out: out.txt}
---
apiVersion: switchyard/v1
kind: Pipeline
metadata: {name: strict}
spec:
  parameters: {data: {type: string}}
  steps:
    - name: rows
      ingest: {source: ["\${parameters.data}"]}
    - name: checked
      validate: {data: rows, schema: {extra: true, columns: {label: {values: [nothing]}}}}
    - name: train
      run:
        job: {command: [sh, run.sh], files: {run.sh: 'exit 0'}}
        inputs: {rows: checked}
        outputs: {out: out.txt}
---
apiVersion: switchyard/v1
kind: Pipeline
metadata: {name: whole}
spec:
  parameters: {data: {type: string}}
  steps:
    - name: rows
      ingest: {source: ["\${parameters.data}"], types: {entity: string}}
    - name: columns
      transform: {data: rows, operations: [{select: [a, b, c, d, label]}]}
    - name: parts
      split: {data: columns, parts: {train: 0.5, test: 0.5}, stratify: label}
    - name: train
      train:
        job: {command: [sh, run.sh], files: {run.sh: 'test -s inputs/train.csv && base64 -d model.b64 > model.onnx', model.b64: 'MODEL'}, graceSeconds: 1}
        inputs: {train: parts.train}
        outputs: {model: model.onnx}
    - name: judged
      evaluate: {model: train, data: parts.test, label: label, task: classification, classes: [w, x, y, z]}
    - name: gate
      gate: {evaluation: judged, rules: [{metric: accuracy, op: ">=", value: 0.9}]}
    - name: register
      register: {model: train, name: letters, evaluation: judged, gate: gate}
    - name: deploy
      deploy: {version: register, alias: champion}
`;

const MODEL = Buffer.from(mlflowFiles('')['model.onnx'] as Uint8Array).toString('base64');
const open = await MonitorsUnderTest.open(PIPELINES.replace('MODEL', MODEL));
after(() => open.close());
const { monitors, client } = open;

/** The first version of a model, which is its champion. */
async function champion(model: string): Promise<void> {
  const version = await client.register(model, mlflowFiles(model));
  await client.alias(model, 'champion', version);
}

const LETTERS = ['w', 'x', 'y', 'z'];
let turn = 0;
/** Rows with a letter each, which the model gets right or not; `moved`: the input is where it never was. */
function send(
  model: string,
  rows: number,
  { right = true, moved = false, labels = true, version = '1' } = {},
): string[] {
  return Array.from({ length: rows }, () => {
    const letter = turn++ % 4;
    const values = LETTERS.map((_, i) => (i === letter ? 0.7 : 0.1) + ((turn * 7919) % 97) / 1000 + (moved ? 3 : 0));
    const said = right ? LETTERS[letter] : LETTERS[(letter + 1) % 4];
    const id = open.ask({
      model,
      version,
      features: [{ name: 'x', datatype: 'FP32', shape: [1, 4], values }],
      predictions: [{ name: 'label', datatype: 'BYTES', shape: [1, 1], values: [said] }],
    });
    if (labels) open.label(id, model, LETTERS[letter]);
    return id;
  });
}

/** What happens again and again, but not faster than windows are judged on a busy machine. */
function nowAndThen(work: () => void): () => void {
  let next = 0;
  return () => {
    if (performance.now() < next) return;
    work();
    next = performance.now() + 1000;
  };
}

const SPEC = {
  reference: { records: 120 },
  window: { rows: 120 },
  minRows: 100,
  columns: { include: ['inputs.*'] },
  alert: { windows: 2, of: 3, clear: 2 },
  quality: { prediction: 'outputs.label', window: { rows: 40 }, metrics: [{ metric: 'accuracy', min: 0.9 }] },
};
const COLUMNS = { 'inputs.x[0]': 'a', 'inputs.x[1]': 'b', 'inputs.x[2]': 'c', 'inputs.x[3]': 'd' };
const NEVER = { drift: false, quality: false };

interface Cause {
  on: object;
  /** What is not enough by itself. */
  almost(model: string): void;
  /** What makes it want to retrain, with labelled rows to learn from. */
  event(model: string): void;
  reason: RegExp;
}

const CAUSES: Record<RetrainingRow['cause'], Cause> = {
  drift: {
    on: { drift: true, quality: false },
    almost: (model) => void send(model, 120, { moved: true }),
    event: (model) => void send(model, 120, { moved: true }),
    reason: /psi .*, 0\.2 allowed/,
  },
  quality: {
    on: { drift: false, quality: true },
    almost: (model) => void send(model, 40, { right: false }),
    event: (model) => void send(model, 40, { right: false }),
    reason: /accuracy is 0, at least 0\.9 is wanted/,
  },
  labels: {
    on: { ...NEVER, labels: 200 },
    almost: (model) => void send(model, 79),
    event: (model) => void send(model, 200),
    reason: /^\d+ new labels$/,
  },
  schedule: {
    // Every second; until there are rows to learn from it is due and waits.
    on: { ...NEVER, schedule: { cron: '* * * * * *' } },
    almost: (model) => void send(model, 80, { labels: false }),
    event: (model) => void send(model, 120),
    reason: /^schedule \* \* \* \* \* \*, due 2/,
  },
};

const told = (monitor: string, message: string, reason: RegExp): boolean =>
  open.log.some(
    (line) =>
      line.message === message && line.fields.monitor === monitor && reason.test(String(line.fields.reason ?? '')),
  );
const jobOf = (row: Lineage): string | null => row.steps.find(({ name }) => name === 'train')?.job ?? null;

/** A champion under a monitor that runs the pipeline again for a cause. */
async function watched(model: string, retrain: object): Promise<void> {
  await champion(model);
  const data = { minRows: 80, since: 'all' };
  await open.watch(model, { ...SPEC, model, retrain: { pipeline: 'again', data, ...retrain } });
  await until('it watches the champion', async () => (await monitors.get(model)).version === '1', WAIT_MS);
}

for (const [cause, { on, almost, event, reason }] of Object.entries(CAUSES))
  test(`${cause} starts a job: not before it is enough, one at a time, after its cooldown, and not for ever`, async () => {
    const go = join(open.under.folder, `go-${cause}`);
    const model = `m-${cause}`;
    await watched(model, { on, parameters: { go }, cooldown: '4s', breaker: { after: 2 } });
    // The reference, without labels: these are not a reason yet.
    send(model, 120, { labels: false });
    almost(model);
    await until(
      'the windows were judged',
      async () => cause === 'labels' || cause === 'schedule' || (await monitors.windows(model, 1e9, 9)).length >= 1,
      WAIT_MS,
    );
    if (cause === 'schedule')
      await until('it is due', () => told(model, 'a retraining waits', /0 labelled rows, 80 are wanted/), WAIT_MS);
    assert.deepEqual(await monitors.lineage(model, 1e9, 9), [], 'nothing begins before it is enough');

    const again = nowAndThen(() => event(model));
    await until(
      'a job runs',
      async () => {
        again();
        const [row] = await monitors.lineage(model, 1e9, 9);
        const job = row === undefined ? null : jobOf(row);
        return job !== null && (await open.training.jobs.get(job))?.status === 'running';
      },
      WAIT_MS,
    );
    await until(
      'single flight',
      () => {
        again();
        return told(model, 'a retraining waits', /single flight: retraining \w+ \(\w+\) goes on/);
      },
      WAIT_MS,
    );
    const [first, ...others] = await monitors.lineage(model, 1e9, 9);
    assert.deepEqual(others, [], 'one at a time');
    assert.equal(first.cause, cause);
    assert.match(first.reason, reason);
    assert.ok((first.data?.rows ?? 0) >= 80, `${first.data?.rows} rows are learnt from`);
    const { name = '', version } = first.data?.dataset ?? {};
    const learnt = await open.datasets.get(name, version, { actor: 'somebody' });
    assert.equal(learnt.rows, first.data?.rows, 'they are a version of a dataset');
    assert.equal(learnt.source.retraining, first.id);

    writeFileSync(go, '');
    await until(
      'the breaker opens',
      async () => {
        again();
        return (await monitors.get(model)).retraining?.breaker !== '';
      },
      WAIT_MS,
    );
    assert.ok(told(model, 'a retraining waits', /cooldown until 2/), 'it waited for its cooldown');
    const rows = await monitors.lineage(model, 1e9, 9);
    assert.deepEqual(
      rows.map((row) => [row.cause, row.status]),
      [
        [cause, 'failed'],
        [cause, 'failed'],
      ],
      'two in vain, and no third',
    );
    for (const row of rows) {
      assert.match(row.outcome, /train: .*3/, 'as the job said');
      const job = await open.training.jobs.get(jobOf(row) ?? '');
      assert.deepEqual([job?.status, job?.exitCode], ['failed', 3]);
    }
    assert.ok(
      Number(rows[0].created_at) >= Number(rows[1].ended_at) + 4000,
      'the second began when the cooldown of the first was over',
    );
    await monitors.change([{ name: model, body: undefined }], false);
  });

for (const [cause, { on, event }] of Object.entries(CAUSES))
  test(`${cause} keeps to the daily budget`, async () => {
    const go = join(open.under.folder, 'go');
    writeFileSync(go, '');
    const model = `b-${cause}`;
    await watched(model, { on, parameters: { go }, cooldown: '1ms', dailyBudget: 1, breaker: { after: 9 } });
    send(model, 120, { labels: false });
    const again = nowAndThen(() => event(model));
    await until(
      'it waits for tomorrow',
      () => {
        again();
        return told(model, 'a retraining waits', /the daily budget of 1 retrainings is spent/);
      },
      WAIT_MS,
    );
    assert.equal((await monitors.lineage(model, 1e9, 9)).length, 1);
    await monitors.change([{ name: model, body: undefined }], false);
  });

test('data that does not pass its validation is never learnt from', async () => {
  await champion('strict');
  const retrain = { pipeline: 'strict', on: CAUSES.labels.on, data: { minRows: 80, since: 'all' }, cooldown: '1h' };
  await open.watch('strict', { ...SPEC, model: 'strict', retrain });
  await until('it watches the champion', async () => (await monitors.get('strict')).version === '1', WAIT_MS);
  send('strict', 330);
  await until(
    'the run failed',
    async () => (await monitors.lineage('strict', 1e9, 9))[0]?.status === 'failed',
    WAIT_MS,
  );
  const [row] = await monitors.lineage('strict', 1e9, 9);
  assert.match(row.outcome, /the data is not as it must be: label, row \d+: /);
  assert.equal(jobOf(row), null, 'no job began');
  assert.deepEqual([row.version, row.promotion], ['', null]);
  const { aliases } = await client.ok('GET', '/api/v1/registry/models/strict/aliases');
  assert.deepEqual(
    aliases.map(({ alias, version }: { alias: string; version: string }) => [alias, version]),
    [['champion', '1']],
  );
  await monitors.change([{ name: 'strict', body: undefined }], false);
});

test('rows that a schema contradicts start no pipeline, and are told; once they pass, one is run', async () => {
  const model = 'checked';
  await champion(model);
  const wrong = { fields: { label: { values: ['nothing'] }, a: { min: 100 } }, extra: 'allow' };
  await open.schemas.put('labelled', wrong, '', { actor: 'test' });
  const happened: Record<string, unknown>[] = [];
  const { events } = open.under.registry.registry;
  const unsubscribe = events.subscribe(({ type, data }) => void (type === 'drift.set' && happened.push(data)));
  const data = { minRows: 80, since: 'all', columns: COLUMNS };
  const retrain = {
    pipeline: 'again',
    on: CAUSES.labels.on,
    data,
    parameters: { go: process.execPath },
    validate: { schema: 'labelled' },
    cooldown: '1s',
  };
  await open.watch(model, { ...SPEC, model, retrain });
  await until('it watches the champion', async () => (await monitors.get(model)).version === '1', WAIT_MS);
  send(model, 330);
  const rows = () => monitors.lineage(model, 1e9, 9);
  await until('its data does not pass', async () => (await rows())[0]?.status === 'failed', WAIT_MS);
  unsubscribe();
  const [row] = await rows();
  assert.match(
    row.outcome,
    /^dataset retraining\.checked\/1 does not pass schema labelled: label: VOCABULARY, .*; a: BELOW_MIN, .* is below 100$/,
  );
  assert.deepEqual([row.steps, row.version], [[], ''], 'no pipeline ran');
  const [told] = happened.filter(({ signal }) => signal === 'validation');
  assert.deepEqual([told.monitor, told.level, told.reason], [model, 'alert', row.outcome]);
  await open.schemas.put('labelled', { fields: { label: { values: LETTERS } }, extra: 'allow' }, '', { actor: 'test' });
  send(model, 330);
  await until('one is run with what passes', async () => (await rows()).some(({ steps }) => steps.length > 0), WAIT_MS);
  await monitors.change([{ name: model, body: undefined }], false);
});

test('one request is followed to the version that its window brought, and that version back to it', async () => {
  const model = 'letters';
  await champion(model);
  const retrain = {
    pipeline: 'whole',
    on: CAUSES.quality.on,
    data: { minRows: 80, columns: COLUMNS },
    cooldown: '1h',
  };
  await open.watch(model, { ...SPEC, model, slices: [{ by: 'tenant' }], retrain });
  await until('it watches the champion', async () => (await monitors.get(model)).version === '1', WAIT_MS);
  const [early] = send(model, 120, { labels: false });
  // With the first labelled rows this is a window: it ends before anything is retrained, however soon that is.
  send(model, 80, { labels: false });
  const ids: string[] = [];
  const more = nowAndThen(() => ids.push(...send(model, 40, { right: false })));
  await until(
    'a retrained version is the champion',
    async () => {
      more();
      return (await monitors.get(model)).version === '2';
    },
    WAIT_MS,
  );
  const id = ids[20];
  let trace = await monitors.trace(id, {});
  await until(
    'the retraining is over',
    async () => {
      trace = await monitors.trace(id, {});
      return trace.monitors[0]?.retrainings[0]?.status === 'promoted';
    },
    WAIT_MS,
  );
  assert.match(trace.place, /inference-0+\.jsonl$/);
  assert.deepEqual([trace.request?.id, trace.request?.model, trace.request?.version], [id, model, '1']);
  const [of, ...others] = trace.monitors;
  assert.deepEqual(others, []);
  assert.equal(of.counted, 'window');
  const quality = of.windows.filter(({ kind, state }) => kind === 'quality' && state === 'bad');
  assert.ok(quality.length >= 1, JSON.stringify(of.windows));
  const [alert] = of.alerts;
  assert.deepEqual([alert.signal, alert.level, alert.version], ['accuracy', 'alert', '1']);
  const [row] = of.retrainings;
  assert.deepEqual(row.by, ['alert', 'data']);
  assert.deepEqual([row.cause, row.version, row.promotion?.alias], ['quality', '2', 'champion']);
  assert.ok(jobOf(row) !== null, 'its job is named');
  assert.deepEqual(
    row.evidence.map(({ kind, outcome }) => [kind, outcome]),
    [['gate', 'pass']],
  );

  const origin = await monitors.origin(model, '2', 1e9, 9);
  assert.deepEqual(
    origin.map((one) => one.id),
    [row.id],
  );
  assert.ok(
    origin[0].windows.some(({ window }) => quality.some((one) => one.window === window)),
    'the version leads back to the window of the request',
  );
  assert.deepEqual(await monitors.origin(model, '1', 1e9, 9), []);

  // The other ways a request can have gone.
  const before = await monitors.trace(early, {});
  assert.deepEqual([before.monitors[0].counted, before.monitors[0].windows.length], ['reference', 0]);
  const failed = open.ask({ model, status: 'internal', features: [], predictions: [] });
  assert.match((await monitors.trace(failed, {})).monitors[0].reason, /it failed \(internal\)/);
  const gone = await monitors.trace('nobody-1', {});
  assert.equal(gone.place, '');
  assert.match(gone.reason, /no record of it is kept: .*left retention \(the oldest is of 2.*give the model/);
  const given = { model, version: '1', time: trace.request?.time ?? 0 };
  const known = await monitors.trace('nobody-1', given);
  assert.equal(known.monitors[0].counted, 'window');
  assert.match(known.reason, /model, version and time are those that were given/);

  // The reference is the new version's own, and what rang of the old one has ended.
  send(model, 120, { version: '2', moved: true, labels: false });
  await until(
    'the new version has a reference',
    async () => (await monitors.get(model)).references.some(({ version }) => version === '2'),
    WAIT_MS,
  );
  send(model, 120, { version: '2', moved: true, labels: false });
  await until(
    'a window of the new version',
    async () => (await monitors.windows(model, 1e9, 1))[0]?.version === '2',
    WAIT_MS,
  );
  const [newest] = await monitors.windows(model, 1e9, 1);
  assert.equal(newest.state, 'ok', 'what was learnt anew is not held against the past');
  const alerts = await monitors.alerts(model, 1e9, 9);
  const ended = alerts.find(({ key }) => key === alert.key);
  assert.match(ended?.endReason ?? '', /version 2 took its place/);
  assert.equal((await monitors.get(model)).level, 'ok');
});
