import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRoutes } from '../../config/load-routes.ts';
import type { RouteAliases } from './aliases.ts';
import { RouteRuntime } from './runtime.ts';
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

test('what is written at the end is the last there was, though a write is on its way', async () => {
  const ends: (() => void)[] = [];
  const runtime = new RouteRuntime({
    publishRoutes: () => {},
    publishState: () => {},
    table: () => ({ models: new Map() }) as never,
    aliases: { versionOf: () => '', follow: () => {} } as unknown as RouteAliases,
    aliasSource: {} as never,
    node: 'this',
    fleet: undefined,
    save: () => new Promise((saved) => ends.push(saved)),
    journal: () => ({}) as WaitingJournal,
    log: (_level, message) => assert.fail(message),
    now: () => 10_000,
  });
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
