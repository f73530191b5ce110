import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { MAX_EVENT_IDS, RewardJoin, type RewardResult } from './reward-join.ts';
import { WaitingJournal } from './waiting-journal.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-journal-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

type Aggregate = 'first' | 'sum';
let folders = 0;

/** Each call of the result is a process that begins where the one before it was killed. */
function processes(aggregate: Aggregate = 'first', settings: object = {}, maxEventIds?: number) {
  const folder = join(scratch, String(folders++));
  const problems: string[] = [];
  const begin = (print = 'p', owner = 'this'): RewardJoin => {
    const journal = new WaitingJournal({ folder, print, owner, problem: (text) => problems.push(text), ...settings });
    return new RewardJoin({ wait: 100, default: 0.25, aggregate, range: [0, 9] }, 2, undefined, journal, maxEventIds);
  };
  return { folder, problems, begin };
}

function matured(rewards: RewardJoin, now: number): { arm: number; reward: number; context: number[] | undefined }[] {
  const taken: { arm: number; reward: number; context: number[] | undefined }[] = [];
  rewards.mature(now, ({ arm, context }, reward) => taken.push({ arm, reward, context }));
  return taken;
}

test('decisions and rewards from before a restart are learnt once, with context, whoever sends a reward again', async () => {
  const { begin } = processes();
  const first = begin();
  assert.equal(first.owners.size, 0);
  first.decided('a', 0, { arm: 0, context: [0.5, -1e-9] });
  first.decided('b', 10, { arm: 1, context: [1, 2], failed: true });
  first.decided('c', 20, { arm: 1, context: undefined, bucket: 7 });
  assert.equal(first.reward('a', 1, 'e', 50), 'accepted');
  await first.flush();

  const second = begin();
  assert.deepEqual([...second.owners], ['this']);
  assert.deepEqual(matured(second, 1000), [], 'nothing before it is known what was learnt');
  second.decided('d', 30, { arm: 0, context: [3, 4] });
  second.recover(0);
  assert.equal(second.reward('a', 1, 'e', 60), 'duplicate');
  assert.equal(second.reward('b', 1, undefined, 60), 'failedOver');
  assert.equal(second.reward('c', 2, undefined, 60), 'accepted');
  assert.deepEqual(matured(second, 115), [
    { arm: 0, reward: 1, context: [0.5, -1e-9] },
    { arm: 1, reward: 0.25, context: [1, 2] },
  ]);
  const { learnt } = second;
  await second.flush();

  const third = begin();
  third.recover(learnt);
  assert.equal(third.reward('a', 1, undefined, 116), 'expired');
  assert.equal(third.reward('c', 2, undefined, 116), 'duplicate');
  assert.deepEqual(matured(third, 1000), [
    { arm: 1, reward: 2, context: undefined },
    { arm: 0, reward: 0.25, context: [3, 4] },
  ]);
  const fourth = begin();
  fourth.recover(third.learnt);
  assert.deepEqual([fourth.waiting, fourth.learnt], [0, third.learnt]);
});

test('event ids are known again after a restart, and those that found no room stay uncounted', async () => {
  const { begin } = processes('sum', {}, MAX_EVENT_IDS + 1);
  const first = begin();
  first.decided('a', 0, { arm: 0, context: undefined });
  first.decided('b', 10, { arm: 1, context: undefined });
  const send = (to: RewardJoin, id: string, event: number): RewardResult => to.reward(id, 0.001, String(event), 50);
  for (let event = 0; event <= MAX_EVENT_IDS; event++) send(first, 'a', event);
  assert.deepEqual([send(first, 'b', 0), send(first, 'b', 1)], ['accepted', 'tooManyIds']);
  // Learnt, and killed before anybody was told: what was learnt waits again, beside what took its room.
  assert.equal(matured(first, 105).length, 1);
  assert.equal(send(first, 'b', 1), 'accepted');
  await first.flush();

  const second = begin();
  second.recover(0);
  assert.deepEqual([send(second, 'a', 70), send(second, 'a', MAX_EVENT_IDS)], ['duplicate', 'tooManyIds']);
  assert.deepEqual([send(second, 'b', 1), send(second, 'b', 2)], ['duplicate', 'tooManyIds']);
  const values = matured(second, 1000).map(({ reward }) => reward.toFixed(6));
  assert.deepEqual(values, ['1.000000', '0.002000']);
});

test('whose a decision is outlives the process; one that an earlier version wrote down is everybody’s', async () => {
  const { begin, folder } = processes();
  const first = begin();
  first.decided('a', 0, { arm: 0, context: [0.5, 2], tenant: 'acme' });
  first.decided('none', 0, { arm: 0, context: undefined, tenant: 'acme' });
  await first.flush();
  const [file] = readdirSync(folder);
  appendFileSync(join(folder, file), '[2,"old",100,1,0,-1,3,4]\n[3,"older",100,1,0,7]\n');
  const second = begin();
  second.recover(0);
  for (const id of ['a', 'none']) assert.equal(second.reward(id, 1, undefined, 1, 'other'), 'unknown');
  for (const id of ['a', 'none']) assert.equal(second.reward(id, 1, undefined, 1, 'acme'), 'accepted');
  for (const id of ['old', 'older']) assert.equal(second.reward(id, 2, undefined, 1, 'other'), 'accepted');
  assert.deepEqual(
    matured(second, 1000).map(({ context }) => context),
    [[0.5, 2], undefined, [3, 4], undefined],
  );
});

test('a gateway that counts under another name is asked for under that one only', async () => {
  const { begin } = processes();
  const first = begin('p', 'one');
  first.decided('a', 0, { arm: 0, context: [1, 2] });
  first.decided('b', 90, { arm: 1, context: [3, 4] });
  await first.flush();
  assert.equal(matured(first, 100).length, 1);
  first.rename('two');
  first.decided('c', 95, { arm: 1, context: [5, 6] });
  await first.flush();
  const second = begin('p', 'three');
  assert.deepEqual([...second.owners], ['two']);
  second.recover(first.learnt);
  assert.equal(matured(second, 1000).length, 2, 'waiting decisions go on');
});

test('sums of rewards go on, each event once', async () => {
  const { begin } = processes('sum');
  const first = begin();
  first.decided('a', 0, { arm: 0, context: undefined });
  assert.equal(first.reward('a', 1, 'x', 1), 'accepted');
  assert.equal(first.reward('a', 2, undefined, 1), 'accepted');
  await first.flush();
  const second = begin();
  second.recover(0);
  assert.equal(second.reward('a', 1, 'x', 2), 'duplicate');
  assert.equal(second.reward('a', 4, 'y', 2), 'accepted');
  assert.deepEqual(matured(second, 1000), [{ arm: 0, reward: 7, context: undefined }]);
});

test('another strategy throws away what waited, a cut line is left out, and writing goes on', async () => {
  const { folder, problems, begin } = processes();
  const first = begin();
  first.decided('a', 0, { arm: 0, context: undefined });
  await first.flush();
  appendFileSync(join(folder, readdirSync(folder)[0]), '[1,"b",100,');
  const second = begin();
  second.recover(0);
  second.decided('c', 1, { arm: 1, context: undefined });
  await second.flush();
  const third = begin();
  third.recover(0);
  assert.deepEqual([third.waiting, third.knows('a'), third.knows('b'), third.knows('c')], [2, true, false, true]);
  const other = begin('q');
  assert.equal(other.owners.size, 0);
  assert.deepEqual(readdirSync(folder), []);
  assert.deepEqual(problems, []);
});

test('files go when all in them is learnt, and a full journal says so once', async () => {
  const { folder, problems, begin } = processes('first', { segmentBytes: 200, maxBytes: 2000 });
  const rewards = begin();
  for (let i = 0; i < 30; i++) {
    rewards.decided(`decision-${i}`, i, { arm: 0, context: undefined });
    await rewards.flush();
  }
  const before = readdirSync(folder).length;
  matured(rewards, 115);
  rewards.prune(rewards.learnt);
  await rewards.flush();
  assert.ok(readdirSync(folder).length < before, 'files of learnt decisions are gone');
  for (let i = 0; i < 200; i++) {
    rewards.decided(`more-${i}`, 200, { arm: 0, context: undefined });
    await rewards.flush();
  }
  assert.equal(problems.length, 1);
  const again = begin();
  again.recover(rewards.learnt);
  assert.deepEqual(
    [again.knows('decision-0'), again.knows('decision-29'), again.knows('more-199')],
    [false, true, false],
  );
});

test('who wrote is asked what it learnt, also when it wrote nothing but its name', async () => {
  const { begin } = processes();
  const first = begin('p', 'one');
  first.decided('a', 0, { arm: 0, context: undefined });
  await first.flush();
  const second = begin('p', 'two');
  second.recover(0);
  await second.flush();
  assert.deepEqual([...begin('p', 'three').owners], ['one', 'two']);
});
