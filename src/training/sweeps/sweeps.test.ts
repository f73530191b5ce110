import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { trainingUnderTest } from '../../testing/training.ts';
import type { Training } from '../training.ts';
import { randomOf } from './algorithms/random-source.ts';
import { anyPoint } from './algorithms/space.ts';
import type { Sweeps, SweepView, TrialView } from './sweeps.ts';

const by = { actor: 'ada', reason: '' };
const X = { name: 'x', type: 'double', feasibleSpace: { min: 0, max: 4 } };
const KIND = { name: 'kind', type: 'categorical', feasibleSpace: { list: ['good', 'bad'] } };

/** A sweep whose trials run a shell script with x and kind as $1 and $2. */
function sweep(script: string, spec: Record<string, unknown> = {}, name = 'demo') {
  return {
    apiVersion: 'switchyard/v1',
    kind: 'Sweep',
    metadata: { name },
    spec: {
      objective: { type: 'minimize', metric: 'loss' },
      algorithm: { name: 'random', settings: { seed: 7 } },
      parameters: [X, KIND],
      parallelTrialCount: 3,
      maxTrialCount: 6,
      trialTemplate: {
        command: ['sh', 'run.sh'],
        args: [`\${params.x}`, `\${params.kind}`],
        files: { 'run.sh': script },
        graceSeconds: 1,
        resources: { cpu: 0.1 },
      },
      ...spec,
    },
  };
}

describe('sweeps on this machine', { timeout: 600_000 }, () => {
  let registry: RegistryUnderTest;
  let training: Training;
  let sweeps: Sweeps;
  let errors: unknown[];
  const open = async (): Promise<void> => {
    ({ training, errors } = await trainingUnderTest(registry, { process: { minFreeBytes: 0, cpu: 8 } }));
    sweeps = training.sweeps;
  };
  before(async () => {
    registry = await RegistryUnderTest.open();
    await open();
  });
  after(async () => {
    await training.close();
    await registry.close();
  });

  const over = async (id: string): Promise<SweepView> => {
    for (;;) {
      const view = (await sweeps.get(id)) as SweepView;
      if (view.endedAt !== null) return view;
      await sleep(50);
    }
  };
  const trialsOf = async (id: string): Promise<TrialView[]> => (await sweeps.trials(id, {}))?.trials ?? [];
  const run = async (document: object): Promise<{ view: SweepView; trials: TrialView[] }> => {
    const { id } = await sweeps.submit(document, by);
    return { view: await over(id), trials: await trialsOf(id) };
  };
  const waitFor = async (id: string, met: (trials: TrialView[]) => boolean): Promise<TrialView[]> => {
    for (;;) {
      const trials = await trialsOf(id);
      if (met(trials)) return trials;
      await sleep(50);
    }
  };

  test('trials become child runs with params and metrics; the best is known; the sweep has a run of its own', async () => {
    const events: string[] = [];
    const hear = registry.registry.events.subscribe(({ type, data }) => {
      events.push(`${type} ${data.status ?? ''}`);
    });
    const { view, trials } = await run(sweep('echo "loss=$1 step=1"'));
    // Events are told of after what they tell is stored, which is what `run` saw.
    while (!events.includes('sweep.updated succeeded')) await sleep(10);
    hear();
    assert.deepEqual([view.status, view.reason], ['succeeded', 'all trials were made']);
    assert.equal(view.trials.complete, 6);
    assert.deepEqual(errors, []);
    for (const { params, value, status } of trials) assert.deepEqual([status, value], ['complete', params.x]);
    const least = Math.min(...trials.map(({ value }) => value as number));
    assert.equal(view.best?.value, least);
    const filter = `tag.mlflow.parentRunId = '${view.runId}'`;
    const { runs } = await registry.ok('POST', 'runs/search', { experiment_ids: [view.experimentId], filter });
    assert.equal(runs.length, 6);
    for (const { info, data } of runs) {
      const { params } = trials.find(({ runId }) => runId === info.run_id) as TrialView;
      const logged = Object.fromEntries(data.params.map(({ key, value }: Record<string, string>) => [key, value]));
      assert.deepEqual(logged, { x: String(params.x), kind: params.kind });
      assert.equal(data.metrics[0].key, 'loss');
    }
    const { run: parent } = await registry.ok('GET', 'runs/get', { run_id: view.runId });
    assert.deepEqual([parent.info.status, parent.info.run_name], ['FINISHED', 'demo']);
    assert.equal(parent.data.metrics[0].value, least);
    assert.ok(events.includes('sweep.created '), events.join());
    assert.equal(events.filter((event) => event === 'sweep_trial.updated complete').length, 6);
  });

  test('the same seed asks for the same points, whatever order trials end in', async () => {
    const first = await run(sweep('echo "loss=$1"', { maxTrialCount: 3, parallelTrialCount: 1 }, 'one'));
    const second = await run(sweep('echo "loss=$1"', { maxTrialCount: 3, parallelTrialCount: 3 }, 'two'));
    assert.deepEqual(
      first.trials.map(({ params }) => params),
      second.trials.map(({ params }) => params),
    );
  });

  test('a grid ends when every point was tried', async () => {
    const parameters = [{ ...X, feasibleSpace: { min: 0, max: 1, step: 0.5 } }, KIND];
    const spec = { parameters, algorithm: { name: 'grid' }, maxTrialCount: 50 };
    const { view, trials } = await run(sweep('echo "loss=$1"', spec, 'grid'));
    assert.deepEqual([view.status, view.reason], ['succeeded', 'every point of the grid was tried']);
    assert.equal(new Set(trials.map(({ params }) => JSON.stringify(params))).size, 6);
  });

  test('a goal that is reached ends the sweep, and what still runs is stopped', async () => {
    const script = 'if [ $2 = good ]; then echo "loss=0.1"; else echo "loss=1"; exec sleep 60; fi';
    const spec = {
      objective: { type: 'minimize', metric: 'loss', goal: 0.5 },
      algorithm: { name: 'grid' },
      parameters: [
        { ...X, feasibleSpace: { min: 0, max: 0 } },
        { ...KIND, feasibleSpace: { list: ['bad', 'good'] } },
      ],
    };
    const { view, trials } = await run(sweep(script, spec, 'goal'));
    assert.deepEqual([view.status, view.reason], ['succeeded', 'trial 1 reached the goal 0.5']);
    assert.deepEqual(
      trials.map(({ status }) => status),
      ['stopped', 'complete'],
    );
  });

  test('failed trials: counted with their reasons, and too many fail the sweep', async () => {
    const script = 'if [ $2 = bad ]; then echo wrong >&2; exit 3; fi; echo "accuracy=1"';
    const { view, trials } = await run(sweep(script, { maxFailedTrialCount: 1, parallelTrialCount: 1 }, 'failing'));
    assert.equal(view.status, 'failed');
    assert.match(view.reason, /^2 trials failed; the last: /);
    for (const { params, status, reason } of trials) {
      assert.equal(status, 'failed');
      assert.equal(reason, params.kind === 'bad' ? 'exit code 3' : 'it reported no metric loss; it reported accuracy');
    }
    const { run: parent } = await registry.ok('GET', 'runs/get', { run_id: view.runId });
    assert.equal(parent.info.status, 'FAILED');
  });

  test('halving stops what is not among the best at its first rung', async () => {
    // A good trial comes first and goes on; the bad ones that follow wait to be stopped.
    const script = 'echo "loss=$1 step=1"; if [ $1 = 3 ]; then exec sleep 60; fi; echo "loss=$1 step=2"';
    const choices = { kind: 'choice', name: 'x', choices: [1, 3] } as const;
    const draws = (seed: number): unknown[] => [0, 1, 2].map((trial) => anyPoint([choices], randomOf(seed, trial)).x);
    let seed = 0;
    while (draws(seed)[0] !== 1 || !draws(seed).includes(3)) seed++;
    const spec = {
      algorithm: { name: 'asha', settings: { seed, minSteps: 1, maxSteps: 9, reductionFactor: 2 } },
      parameters: [{ name: 'x', type: 'discrete', feasibleSpace: { list: [1, 3] } }, KIND],
      parallelTrialCount: 1,
      maxTrialCount: 5,
    };
    const { view, trials } = await run(sweep(script, spec, 'halving'));
    assert.equal(view.status, 'succeeded');
    for (const { params, status, reason, value } of trials) {
      if (params.x === 1) assert.equal(status, 'complete');
      else assert.deepEqual([status, reason, value], ['stopped', 'not among the best at rung 1', 3]);
    }
    assert.ok(view.trials.stopped > 0, JSON.stringify(trials));
  });

  test('cancel stops the trials and begins no more', async () => {
    const { id } = await sweeps.submit(sweep('echo loss=1; exec sleep 60', {}, 'cancelled'), by);
    await waitFor(id, (trials) => trials.length === 3 && trials.every(({ status }) => status === 'running'));
    await sweeps.cancel(id, { actor: 'bob', reason: 'enough' });
    const view = await over(id);
    assert.deepEqual([view.status, view.reason, view.trials.cancelled], ['cancelled', 'cancelled by bob: enough', 3]);
    assert.equal((await sweeps.cancel(id, by)).status, 'cancelled');
  });

  test('a server that starts again goes on with the same trials', async () => {
    const script = 'echo "loss=$1"; while [ ! -e "$3" ]; do sleep 0.1; done';
    const go = `${registry.dataDir}/go`;
    const document = sweep(script, { maxTrialCount: 4, parallelTrialCount: 2 }, 'restarted');
    document.spec.trialTemplate.args.push(go);
    const { id } = await sweeps.submit(document, by);
    const before = await waitFor(id, (trials) => trials.filter(({ status }) => status === 'running').length === 2);
    await training.close();
    await open();
    const { writeFileSync } = await import('node:fs');
    writeFileSync(go, '');
    const view = await over(id);
    assert.deepEqual([view.status, view.trials.complete], ['succeeded', 4]);
    const trials = await trialsOf(id);
    assert.deepEqual(
      trials.slice(0, 2).map(({ jobId }) => jobId),
      before.map(({ jobId }) => jobId),
    );
    const { jobs } = await training.jobs.list({ parent: { kind: 'sweep', id } });
    assert.equal(jobs.length, 4);
  });

  test('the same idempotency key gives the sweep that exists; pages go through all', async () => {
    const document = sweep('echo "loss=$1"', { idempotencyKey: 'once', maxTrialCount: 3 }, 'once');
    const [one, other] = await Promise.all([sweeps.submit(document, by), sweeps.submit(document, by)]);
    assert.equal(one.id, other.id);
    await over(one.id);
    const first = await sweeps.trials(one.id, { maxResults: 2 });
    const second = await sweeps.trials(one.id, { maxResults: 2, pageToken: first?.nextPageToken });
    assert.deepEqual([first?.trials.length, second?.trials.length, second?.nextPageToken], [2, 1, '']);
    const seen: string[] = [];
    let pageToken = '';
    do {
      const page = await sweeps.list({ maxResults: 2, pageToken });
      seen.push(...page.sweeps.map(({ id }) => id));
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    assert.equal(new Set(seen).size, seen.length);
    assert.ok(seen.includes(one.id), seen.join());
    assert.equal((await sweeps.list({ status: 'running' })).sweeps.length, 0);
    assert.equal(await sweeps.get('none'), undefined);
  });
});
