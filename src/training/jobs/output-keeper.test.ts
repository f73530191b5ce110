import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { RegistryDatabase } from '../../registry/database/database.ts';
import { figuresOf } from '../../registry/tracking/job-runs.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { scriptJob } from '../../testing/training.ts';
import { OutputKeeper, type Reading } from './output-keeper.ts';
import { emptyProgress } from './output-progress.ts';
import { readJob } from './read.ts';
import type { JobRecord } from './record.ts';
import { JobStore } from './store.ts';

const by = { actor: 'ada', reason: '' };

describe('what drivers have read is kept together', { timeout: 600_000 }, () => {
  let registry: RegistryUnderTest;
  let store: JobStore;
  let writes = 0;
  before(async () => {
    registry = await RegistryUnderTest.open();
    store = new JobStore(registry.registry.commits, () => {});
  });
  after(() => registry.close());

  /** Waits for a hundred readings, or one that is urgent. */
  const keeper = (told: string[] = []): OutputKeeper => {
    const { database } = registry.registry;
    const counting: RegistryDatabase = {
      kind: database.kind,
      read: (fn) => database.read(fn),
      write: (fn) => {
        writes++;
        return database.write(fn);
      },
      writeShared: (kind, item) => database.writeShared(kind, item),
      close: () => database.close(),
    };
    return new OutputKeeper({
      database: counting,
      serverId: 'here',
      waitMs: () => 600_000,
      onKept: (readings) => void told.push(...readings.map(({ jobId }) => jobId)),
    });
  };
  const running = async (owner = 'here'): Promise<JobRecord> => {
    const { job } = await store.create(readJob(scriptJob('true')), by);
    const state = { ...job.state, status: 'running' as const, attempt: 1 };
    return (await store.change(job.id, by, (one) => ({ ...one, owner, state }))) as JobRecord;
  };
  const reading = (job: JobRecord, keys: string[], offset = 10): Reading => ({
    jobId: job.id,
    attempt: 1,
    output: { ...emptyProgress(1), offset, progress: 0.5, steps: Object.fromEntries(keys.map((key) => [key, 3])) },
    points: keys.map((key) => ({ key, value: 0.25, step: 3, timestamp: 1000 })),
    own: new Set(Object.keys(job.output.steps)),
  });
  const metricsOf = async ({ runId }: JobRecord): Promise<Record<string, number> | undefined> =>
    (await figuresOf(registry.registry.database, [runId])).get(runId)?.metrics;
  const kept = async ({ id }: JobRecord) => (await store.get(id))?.output;

  test('several jobs share one write; one that belongs to another server by now ends alone', async () => {
    const [one, two, other] = [await running(), await running(), await running('there')];
    const told: string[] = [];
    const together = keeper(told);
    writes = 0;
    const results = await Promise.all([
      together.keep(reading(one, ['loss', 'acc']), false),
      together.keep(reading(other, ['loss']), false),
      together.keep({ ...reading(two, ['loss']), attempt: 2 }, false),
      together.keep(reading(two, ['loss'], 20), true),
    ]);
    assert.equal(writes, 1);
    assert.deepEqual(
      [results[0]?.offset, results[1], results[3]?.offset],
      [10, undefined, 20],
      JSON.stringify(results),
    );
    assert.deepEqual(told.sort(), [one.id, two.id].sort());
    assert.deepEqual([await metricsOf(one), await metricsOf(other)], [{ acc: 0.25, loss: 0.25 }, {}]);
    assert.deepEqual([(await kept(one))?.offset, (await kept(other))?.offset, (await kept(two))?.offset], [10, 0, 20]);
    assert.equal((await store.get(one.id))?.version, one.version, 'changes by others are still noticed');
  });

  test('what fails fails alone, and neither its metrics nor its place are kept', async () => {
    const [good, bad] = [await running(), await running()];
    const broken = reading(bad, ['loss']);
    broken.output.offset = 10n as unknown as number;
    const together = keeper();
    const failing = assert.rejects(together.keep(broken, false), /BigInt/);
    assert.equal((await together.keep(reading(good, ['loss']), true))?.offset, 10);
    await failing;
    assert.deepEqual([await metricsOf(good), await metricsOf(bad)], [{ loss: 0.25 }, {}]);
    assert.equal((await kept(bad))?.offset, 0);
  });

  test('names that the job reports by itself, names that no metric may have, a run that was deleted', async () => {
    const job = await running();
    const metric = { run_id: job.runId, key: 'own', value: 1, timestamp: 1, step: 0 };
    await registry.ok('POST', 'runs/log-metric', metric);
    const together = keeper();
    const after = await together.keep(reading(job, ['own', 'a//b', '../x', 'loss']), true);
    assert.deepEqual(after?.steps, { loss: 3 });
    assert.deepEqual(await metricsOf(job), { own: 1, loss: 0.25 });
    await registry.ok('POST', 'runs/delete', { run_id: job.runId });
    assert.equal((await together.keep(reading(job, ['loss'], 30), true))?.offset, 30);
    assert.equal((await kept(job))?.offset, 30);
  });
});
