import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RolloutEvent } from '../../experiments/rollout/state.ts';
import type { LiveRoute } from './live.ts';
import { RolloutErrands } from './rollout-errands.ts';

test('why an alias cannot be moved is kept with the route, told once, and forgotten once it is moved', async () => {
  let problem = 'moveAliases: true is missing';
  const told: string[] = [];
  const steps: RolloutEvent[] = [];
  const live = { name: 'r', moving: false, moveProblem: '' } as LiveRoute;
  const errands = new RolloutErrands({
    routes: new Map([['r', live]]),
    leading: () => true,
    aliasSource: {
      read: async () => new Map(),
      move: async (_model, _alias, _expected, version) => {
        if (problem !== '') throw new Error(problem);
        return version;
      },
    },
    refreshAliases: async () => true,
    step: (_live, event) => void steps.push(event),
    take: () => {},
    publish: async () => true,
    log: (_level, message) => void told.push(message),
  });
  const wish = { model: 'm', alias: 'champion', expected: '1', version: '2' };
  await errands.move(live, wish);
  await errands.move(live, wish);
  assert.deepEqual([live.moveProblem, told.length, steps.length], [problem, 1, 0]);
  problem = '';
  await errands.move(live, wish);
  assert.deepEqual([live.moveProblem, steps], ['', [{ type: 'aliasSet', version: '2' }]]);
});
