import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRoutes } from '../../config/load-routes.ts';
import type { RouteAliases } from './aliases.ts';
import { RouteRuntime, type RuntimeDependencies } from './runtime.ts';
import type { WaitingJournal } from './waiting-journal.ts';

const set = parseRoutes([
  {
    file: 'routes.yaml',
    text: `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy: {weighted: {stable: 50, next: 50}}
`,
  },
]);

function runtimeThatSaves(save: RuntimeDependencies['save']): RouteRuntime {
  return new RouteRuntime({
    publishRoutes: () => {},
    publishState: () => {},
    table: () => ({ models: new Map() }) as never,
    aliases: { versionOf: () => '', follow: () => {} } as unknown as RouteAliases,
    aliasSource: {} as never,
    node: 'this',
    fleet: undefined,
    save,
    journal: () => ({}) as WaitingJournal,
    log: (_level, message) => assert.fail(message),
    now: () => 10_000,
  });
}

test('what is written at the end is the last there was, though a write is on its way', async () => {
  const ends: (() => void)[] = [];
  const runtime = runtimeThatSaves(() => new Promise((saved) => ends.push(saved)));
  runtime.restore(new Map());
  runtime.replace(set);
  runtime.tick();
  assert.equal(ends.length, 1, 'a write has begun');
  runtime.replace(set);
  const closed = runtime.close();
  ends[0]();
  while (ends.length < 2) await new Promise(setImmediate);
  ends[1]();
  await closed;
});

test('a database that answers late overwrites nothing and loses nothing', async () => {
  const kept = new Map<string, string>();
  const runtime = runtimeThatSaves(async (standings) => {
    for (const [name, standing] of standings) kept.set(name, standing ?? '');
  });
  runtime.replace(set);
  runtime.tick();
  assert.equal(kept.size, 0, 'nothing is written before what is kept was read');
  const { standing } = runtime.routes.get('m') ?? assert.fail('there is a route');
  runtime.restore(new Map([['m', JSON.stringify({ ...standing, invalid: 'known since long' })]]));
  assert.equal(runtime.routes.get('m')?.standing.invalid, 'known since long');
  assert.equal(runtime.routes.get('m')?.standing.state.version, standing.state.version + 1);
  await runtime.close();
  assert.match(kept.get('m') ?? '', /known since long/);
});
