import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { V1Pod } from '@kubernetes/client-node';
import { sourceOf } from '../../datasets/batch.ts';
import { type DataUnderTest, openData } from '../../testing/data-sources.ts';
import { type PodPlay, PodScheduler } from '../../testing/kubernetes-nodes.ts';
import { runPod } from '../../testing/pod-process.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { trainingUnderTest } from '../../testing/training.ts';
import { tinyWheel } from '../../testing/wheel.ts';
import type { JobView } from '../jobs/jobs.ts';
import type { RunnerKind } from '../jobs/spec.ts';
import type { Training } from '../training.ts';

const kubeconfig = process.env.SWITCHYARD_TEST_KUBECONFIG;
const ray = process.env.SWITCHYARD_TEST_RAY_URL;
const by = { actor: 'ada', reason: '' };
const NAMESPACE = 'training';

/** Fails until it finds its checkpoint, and goes on from that; what it prints is read as metrics. */
const TRAIN = `
import os, pathlib, sys, time
folder = pathlib.Path(os.environ.get("SWITCHYARD_CHECKPOINT", "checkpoints"))
attempt = int(os.environ["SWITCHYARD_ATTEMPT_NUMBER"])
print("accuracy=0.%d step=%d" % (attempt, attempt), flush=True)
if sys.argv[1] == "wait":
    time.sleep(600)
if not (folder / "state").exists():
    (folder / "state").write_text("one")
    sys.exit(3)
print("resumed from", (folder / "state").read_text(), flush=True)
`;

/** Needs its input, its environment and, at the second attempt or as another job, what the last one left. */
const WHOLE = `
import os, pathlib, sys
import tiny_sy
tiny_sy.main()
state = pathlib.Path(os.environ["SWITCHYARD_CHECKPOINT"]) / "state"
done = int(state.read_text()) if state.exists() else 0
state.write_text(str(done + 1))
data = (pathlib.Path(os.environ["SWITCHYARD_INPUT_DATA"]) / "train.csv").read_text()
rows = (pathlib.Path(os.environ["SWITCHYARD_INPUT_ROWS"]) / "data.csv").read_text()
print("steps before:", done, flush=True)
if done == 0:
    sys.exit(3)
out = pathlib.Path("out/weights")
out.mkdir(parents=True)
(out / "model.txt").write_text("%d %s%s" % (done, data, rows))
`;

/** One document for every runner. */
function job(runner: RunnerKind, word: string, spec: Record<string, unknown> = {}) {
  return {
    apiVersion: 'switchyard/v1' as const,
    kind: 'Job' as const,
    metadata: { name: 'same' },
    spec: {
      runner,
      image: 'python:3.11',
      command: ['python3', 'train.py'],
      args: [word],
      files: { 'train.py': TRAIN },
      resources: { cpu: 0.5 },
      checkpoint: { path: 'checkpoints' },
      retry: { max: 1, backoffSeconds: 0.1 },
      metrics: { objective: 'accuracy', direction: 'maximize' as const },
      graceSeconds: 1,
      ...spec,
    },
  };
}

describe('one document on every runner', { timeout: 900_000 }, () => {
  let registry: RegistryUnderTest;
  let services: DataUnderTest;
  let training: Training;
  let errors: unknown[];
  let scheduler: PodScheduler;
  /** What pods do, by their job's name. */
  let play: (attempt: string, word: string, pod: V1Pod) => PodPlay = () => 'complete';
  const root = mkdtempSync(join(tmpdir(), 'runners-'));
  const open = async (): Promise<void> => {
    const config = {
      process: { minFreeBytes: 0, cpu: 8 },
      environments: { installer: 'pip', arguments: ['--no-index', '--find-links', join(root, 'wheels')] },
      kubernetes: {
        kubeconfig,
        context: 'runner',
        namespace: NAMESPACE,
        images: ['python:*'],
        checkpointClaim: 'checkpoints',
      },
      ray: { address: ray, checkpointDir: `${registry.dataDir}/ray-checkpoints` },
    };
    ({ training, errors } = await trainingUnderTest(registry, config, { data: services.data }));
  };
  before(async () => {
    assert.ok(kubeconfig, 'SWITCHYARD_TEST_KUBECONFIG must name a kubeconfig: .ci/services/kubernetes.sh start');
    assert.ok(ray, 'SWITCHYARD_TEST_RAY_URL must name a Ray dashboard: .ci/services/ray.sh start');
    registry = await RegistryUnderTest.open();
    services = await openData(registry);
    await services.datasets.create(
      { name: 'rows', kind: 'tabular', origin: { kind: 'test' }, parents: [], runId: '', tags: {} },
      sourceOf({ fields: [{ name: 'id', type: 'integer' }] }, { rows: 1, columns: [[7]] }),
      by,
    );
    tinyWheel(join(root, 'wheels'));
    await open();
    scheduler = await PodScheduler.open(kubeconfig, NAMESPACE, (pod) => {
      const { labels = {} } = pod.metadata ?? {};
      return play(labels['switchyard.dev/attempt'] ?? '', pod.spec?.containers[0].args?.at(-1) ?? '', pod);
    });
  });
  after(async () => {
    scheduler?.close();
    await training?.close();
    await services?.features.close();
    await registry?.close();
    rmSync(root, { recursive: true, force: true });
  });

  const until = async (id: string, met: (job: JobView) => boolean): Promise<JobView> => {
    for (;;) {
      const view = (await training.jobs.get(id)) as JobView;
      if (met(view)) return view;
      assert.equal(view.endedAt, null, `${view.status}: ${view.reason}`);
      await sleep(100);
    }
  };
  const log = async (id: string): Promise<string> =>
    (await training.jobs.logs(id, undefined, 0, 100_000)).bytes.toString();

  for (const runner of ['process', 'kubernetes', 'ray'] as const) {
    test(`${runner}: an attempt fails, the next one succeeds`, async () => {
      play = (attempt) => (attempt === '1' ? { exitCode: 3, reason: 'Error' } : 'complete');
      const { id } = await training.jobs.submit(job(runner, 'go'), by);
      const view = await training.jobs.ended(id);
      assert.deepEqual([view.status, view.reason], ['succeeded', ''], view.logTail);
      assert.equal(view.attempt, 2);
      const history = await training.jobs.history(id);
      assert.ok(
        history.some(({ status, reason }) => status === 'retrying' && reason.includes('exit code 3')),
        JSON.stringify(history),
      );
      const { run } = await registry.ok('GET', 'runs/get', { run_id: view.runId });
      assert.equal(run.info.status, 'FINISHED');
      assert.equal(view.metrics.accuracy > 0, true, JSON.stringify(view.metrics));
      // kwok's containers print what its configuration says: it shows that logs are read through the API.
      if (runner === 'kubernetes') assert.match(await log(id), /accuracy=0\.9 step=1/);
      else assert.match(await log(id), /resumed from one/);
      await training.jobs.remove(id);
      assert.deepEqual(errors, []);
    });

    test(`${runner}: inputs, environment, outputs, checkpoint, and another job that resumes from it`, async () => {
      const ran = new Map<string, PodPlay>();
      const outputs: string[] = [];
      // kwok starts no program: what the pod's container is told to run is run here, and then played.
      play = (_attempt, _word, pod) => {
        const name = pod.metadata?.name ?? '';
        const known = ran.get(name);
        if (known !== undefined) return known;
        ran.set(name, 'unscheduled');
        const places = { root: join(root, name), claims: join(root, 'claims') };
        void runPod(scheduler.core, pod, places).then(
          ({ exitCode, output }) => {
            outputs.push(output);
            ran.set(name, exitCode === 0 ? 'complete' : { exitCode, reason: 'Error' });
          },
          (error: unknown) => {
            outputs.push(String(error));
            ran.set(name, { exitCode: 1, reason: 'Error' });
          },
        );
        return 'unscheduled';
      };
      const { run } = await registry.ok('POST', 'runs/create', { experiment_id: '0', start_time: 1 });
      const files = (runId: string, path: string): string =>
        `${registry.url}/api/2.0/mlflow-artifacts/artifacts/0/${runId}/artifacts/${path}`;
      await fetch(files(run.info.run_id, 'data/train.csv'), { method: 'PUT', body: 'a,b\n' });
      const spec = {
        args: [],
        files: { 'train.py': WHOLE, 'requirements.txt': 'tiny-sy==1.0\n' },
        environment: { requirementsFile: 'requirements.txt' },
        inputs: [
          { name: 'data', source: `runs:/${run.info.run_id}/data` },
          { name: 'rows', source: 'datasets:/rows@latest', format: 'csv' },
        ],
        outputs: [{ name: 'model', path: 'out' }],
        experiment: 'Default',
      };
      const finish = async (more: Record<string, unknown>): Promise<JobView> => {
        const { id } = await training.jobs.submit(job(runner, 'go', { ...spec, ...more }), by);
        const view = await training.jobs.ended(id);
        assert.equal(view.status, 'succeeded', `${view.reason}\n${view.logTail}\n${outputs.join('\n---\n')}`);
        return view;
      };
      const artifact = async (view: JobView, path: string): Promise<string> =>
        (await fetch(files(view.runId, path))).text();
      const first = await finish({});
      assert.equal(first.attempt, 2);
      assert.equal(await artifact(first, 'model/weights/model.txt'), '1 a,b\nid\n7\n');
      assert.equal(await artifact(first, 'checkpoint/state'), '2');
      const second = await finish({ resumeFrom: first.id });
      assert.equal(second.attempt, 1);
      assert.equal(await artifact(second, 'model/weights/model.txt'), '2 a,b\nid\n7\n');
      assert.equal(await artifact(second, 'checkpoint/state'), '3');
      await training.jobs.remove(first.id);
      await training.jobs.remove(second.id);
      assert.deepEqual(errors, []);
    });

    test(`${runner}: cancel`, async () => {
      play = () => 'run';
      const { id } = await training.jobs.submit(job(runner, 'wait'), by);
      await until(id, ({ status }) => status === 'running');
      await training.jobs.cancel(id, { actor: 'bob', reason: 'enough' });
      const view = await training.jobs.ended(id);
      assert.equal(view.status, 'cancelled', view.reason);
      await training.jobs.remove(id);
    });

    test(`${runner}: a server that starts again goes on with the same attempt`, async () => {
      play = () => 'run';
      const { id } = await training.jobs.submit(job(runner, 'wait'), by);
      await until(id, ({ status }) => status === 'running');
      await training.close();
      await open();
      const again = await until(id, ({ status }) => status === 'running');
      assert.equal(again.attempt, 1);
      await training.jobs.cancel(id, by);
      assert.equal((await training.jobs.ended(id)).status, 'cancelled');
      assert.equal((await training.jobs.list({ name: 'same' })).jobs.filter((one) => one.id === id).length, 1);
    });
  }

  test('kubernetes: reasons of pods', async () => {
    for (const [exitCode, reason, expected] of [
      [137, 'OOMKilled', 'killed: out of memory'],
      [139, 'Error', 'killed by SIGSEGV'],
    ] as const) {
      play = () => ({ exitCode, reason });
      const { id } = await training.jobs.submit(job('kubernetes', 'go', { retry: { max: 0 } }), by);
      const view = await training.jobs.ended(id);
      assert.deepEqual([view.status, view.reason, view.exitCode], ['failed', expected, exitCode]);
    }
    play = () => 'run';
    const { id } = await training.jobs.submit(job('kubernetes', 'wait', { timeoutSeconds: 2, retry: { max: 0 } }), by);
    assert.equal((await training.jobs.ended(id)).status, 'timedOut');
  });

  test('ray: what cannot be brought is the reason', async () => {
    const spec = { environment: { requirements: 'no-such-package-sy==9' } };
    const { id } = await training.jobs.submit(job('ray', 'go', spec), by);
    const view = await training.jobs.ended(id);
    assert.deepEqual(
      [view.status, view.attempt, view.nextStep],
      ['failed', 1, 'correct spec.environment.requirements'],
    );
    assert.match(view.reason, /the requirements could not be installed: .*no-such-package-sy/);
  });

  test('ray: what takes too long is stopped', async () => {
    const { id } = await training.jobs.submit(job('ray', 'wait', { timeoutSeconds: 3, retry: { max: 0 } }), by);
    assert.equal((await training.jobs.ended(id)).status, 'timedOut');
  });

  test('trainjob: submitted against the published definitions, followed, and cancelled', async () => {
    const { CustomObjectsApi } = await import('@kubernetes/client-node');
    const custom = scheduler.config.makeApiClient(CustomObjectsApi);
    const place = (name: string) => ({
      group: 'trainer.kubeflow.org',
      version: 'v1alpha1',
      namespace: NAMESPACE,
      plural: 'trainjobs',
      name,
    });
    const { mergePatch } = await import('./kubernetes/cluster.ts');
    // No trainer runs here: this is what its controller writes.
    const report = async (name: string, status: object): Promise<void> => {
      await custom.patchNamespacedCustomObjectStatus({ ...place(name), body: { status } }, await mergePatch());
    };
    const condition = (type: string, reason: string) => ({
      type,
      status: 'True',
      reason,
      message: `${type} by a test`,
      lastTransitionTime: new Date().toISOString(),
    });
    const node = (active: number) => [{ name: 'node', ready: 0, succeeded: 0, failed: 0, active, suspended: 0 }];
    const { id } = await training.jobs.submit(job('trainjob', 'go', { nodes: 3, procsPerNode: 2 }), by);
    const name = `sy-${id}-1`;
    await until(id, ({ status }) => status === 'running');
    // biome-ignore lint/suspicious/noExplicitAny: an object of a custom resource
    const made: any = await custom.getNamespacedCustomObject(place(name));
    assert.deepEqual([made.spec.trainer.numNodes, made.spec.trainer.numProcPerNode], [3, 2]);
    assert.deepEqual(made.spec.trainer.args, ['torchrun', 'train.py', 'go']);
    assert.match(made.spec.trainer.command.join(' '), /cd \/work && exec "\$@" sh sh -c .*attempt\.py/s);
    await report(name, { jobsStatus: node(3) });
    await report(name, { jobsStatus: node(0), conditions: [condition('Failed', 'NodeFailed')] });
    const second = await until(id, ({ attempt, status }) => attempt === 2 && status === 'running');
    assert.equal(second.runId, (await training.jobs.get(id))?.runId);
    await report(`sy-${id}-2`, { conditions: [condition('Complete', 'JobsCompleted')] });
    const view = await training.jobs.ended(id);
    assert.deepEqual([view.status, view.attempt], ['succeeded', 2]);

    const { id: other } = await training.jobs.submit(job('trainjob', 'go'), by);
    await until(other, ({ status }) => status === 'running');
    await training.jobs.cancel(other, by);
    for (;;) {
      // biome-ignore lint/suspicious/noExplicitAny: as above
      const asked: any = await custom.getNamespacedCustomObject(place(`sy-${other}-1`));
      if (asked.spec.suspend === true) break;
      await sleep(100);
    }
    await report(`sy-${other}-1`, { conditions: [condition('Suspended', 'Suspended')] });
    assert.equal((await training.jobs.ended(other)).status, 'cancelled');
  });

  test('what a cluster must not be asked for is refused when the job is submitted', async () => {
    for (const [runner, spec, expected] of [
      ['kubernetes', { image: 'evil/miner:1' }, /spec\.image: "evil\/miner:1" is not allowed/],
      ['kubernetes', { nodes: 2 }, /take the runner trainjob/],
      ['kubernetes', { command: undefined }, /spec\.command: the kubernetes runner needs it to bring inputs/],
      [
        'kubernetes',
        { environment: { requirements: 'numpy', python: 'other' } },
        /environment\.python: the kubernetes runner has no "other" of this server/,
      ],
      ['kubernetes', { hostPath: '/' }, /hostPath is not allowed/],
      ['kubernetes', { securityContext: { privileged: true } }, /privileged is not allowed/],
      ['ray', { resources: { disk: '1Gi' } }, /spec\.resources\.disk/],
    ] as [RunnerKind, Record<string, unknown>, RegExp][]) {
      await assert.rejects(async () => training.jobs.submit(job(runner, 'go', spec), by), { message: expected });
    }
  });
});
