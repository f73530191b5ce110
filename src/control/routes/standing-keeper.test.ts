import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noContribution } from './contribution.ts';
import type { LiveRoute } from './live.ts';
import { StandingKeeper, type StandingKeeperParts } from './standing-keeper.ts';

function live(name: string): LiveRoute {
  const document = { metadata: { name }, spec: { strategy: { weighted: {} } } };
  return { name, document, standing: { print: name }, unsaved: true } as unknown as LiveRoute;
}

function keeperOf(routes: Map<string, LiveRoute>, save: StandingKeeperParts['save'], leads = true): StandingKeeper {
  const told = { leading: () => leads, data: noContribution, log: () => {} };
  return new StandingKeeper({ routes, alone: true, save, ...told });
}

test('nothing is written before what is kept was read, nor by a gateway that does not decide', async () => {
  const never = async (): Promise<void> => assert.fail('it was written');
  const routes = new Map([['a', live('a')]]);
  await keeperOf(routes, never).save(10_000);
  const follower = keeperOf(routes, never, false);
  follower.begin();
  await follower.save(10_000);
});

test('what could not be written is written with the next write, which waits for its time unless it is hurried', async () => {
  const routes = new Map([
    ['a', live('a')],
    ['b', live('b')],
  ]);
  const written: string[][] = [];
  let works = false;
  const keeper = keeperOf(routes, async (standings) => {
    written.push([...standings.keys()]);
    if (!works) throw new Error('the disk is full');
  });
  keeper.begin();
  await keeper.save(10_000);
  works = true;
  await keeper.save(10_001);
  assert.deepEqual(written, [['a', 'b']]);
  await keeper.save(12_000);
  assert.deepEqual(written.slice(1), [['a', 'b']]);
  routes.get('a')!.unsaved = true;
  keeper.hurry();
  await keeper.save(12_001);
  assert.deepEqual(written.slice(2), [['a']]);
  await keeper.save(20_000);
  assert.equal(written.length, 3, 'there is nothing new');
});

test('a route that is no more is removed, whatever else there is to write', async () => {
  const written: [string, string | undefined][] = [];
  const keeper = keeperOf(new Map(), async (standings) => void written.push(...standings));
  await keeper.forget([]);
  await keeper.forget(['gone']);
  assert.deepEqual(written, [['gone', undefined]]);
});
