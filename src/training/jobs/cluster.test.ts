import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { scriptJob, trainingUnderTest } from '../../testing/training.ts';
import { marked } from '../runners/process/proc.ts';
import type { Training } from '../training.ts';
import { Lease } from './lease.ts';
import { attemptName } from './record.ts';

const by = { actor: 'ada', reason: '' };

describe('several servers on one database', { timeout: 600_000 }, () => {
  let registry: RegistryUnderTest;
  before(async () => {
    registry = await RegistryUnderTest.open();
  });
  after(() => registry.close());

  test('one holds the lease; what it writes after it lost it is refused', async () => {
    const { database } = registry.registry;
    const first = new Lease(database, 'first', 300);
    const second = new Lease(database, 'second', 300);
    await first.renew();
    await second.renew();
    assert.deepEqual([first.leading(), second.leading()], [true, false]);
    await database.write((db) => first.require(db));
    await assert.rejects(
      database.write((db) => second.require(db)),
      /another server has become the leader/,
    );
    while (!second.leading()) {
      await sleep(50);
      await second.renew();
    }
    assert.equal(first.leading(), false);
    await assert.rejects(
      database.write((db) => first.require(db)),
      /another server has become the leader/,
    );
    await second.release();
    await first.renew();
    assert.equal(first.leading(), true);
    assert.deepEqual([...(await first.away(1000))], []);
    await first.release();
  });

  test('a job runs once, whoever is asked; when its server is gone for good it is lost and begins anew elsewhere', async () => {
    const config = { leaseSeconds: 1, lostAfterSeconds: 5, process: { minFreeBytes: 0 } };
    const open = (name: string): Promise<{ training: Training }> =>
      trainingUnderTest(registry, config, { folder: join(registry.dataDir, name) });
    const { training: one } = await open('one');
    const { training: two } = await open('two');
    try {
      const short = await two.jobs.submit(scriptJob('echo once'), by);
      const done = await two.jobs.ended(short.id);
      assert.deepEqual([done.status, done.attempt], ['succeeded', 1]);
      // Its log lies on the other machine, and with the run.
      assert.equal((await two.jobs.logs(short.id, undefined, 0, 100)).bytes.toString(), 'once\n');

      const long = await two.jobs.submit(scriptJob('echo up; sleep 300', { retry: { max: 1, backoffSeconds: 0 } }), by);
      const runs = async (attempt: number): Promise<void> => {
        for (;;) {
          const job = await two.jobs.get(long.id);
          if (job?.status === 'running' && job.attempt === attempt) return;
          assert.ok(job !== undefined && job.attempt <= attempt && job.endedAt === null, JSON.stringify(job));
          await sleep(20);
        }
      };
      await runs(1);
      // Asked of the server that does not run it.
      await one.close();
      await runs(2);
      const states = (await two.jobs.history(long.id)).map(({ status }) => status);
      assert.ok(states.includes('retrying'), states.join());
      assert.ok(marked(attemptName(long.id, 1)).length > 0);
      // The first one comes back, and ends what is not its own any more.
      const { training: again } = await open('one');
      while (marked(attemptName(long.id, 1)).length > 0) await sleep(50);
      await again.jobs.cancel(long.id, by);
      assert.equal((await again.jobs.ended(long.id)).status, 'cancelled');
      assert.deepEqual(marked(attemptName(long.id, 2)), []);
      await again.close();
    } finally {
      await two.close();
    }
  });
});
