import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseRoutes } from '../../config/load-routes.ts';
import type { AliasTable } from '../../pipeline/routed/route-version.ts';
import { type AliasSource, RouteAliases } from './aliases.ts';
import { experimentResults } from './experiment-control.ts';
import { shadowOf } from './ledger.ts';
import { rolloutOf } from './rollout-control.ts';
import { RouteRuntime, type RuntimeDependencies } from './runtime.ts';
import { WaitingJournal } from './waiting-journal.ts';

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

const CANARY = `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {stable: {model: m, alias: champion}, next: {model: m, version: "2"}}
  strategy:
    canary: {stable: stable, candidate: next, steps: [{setWeight: 50}], onPass: {setAlias: champion}}
`;

/** Whose candidate follows an alias. */
function followsCandidate(succeeds: boolean): string {
  return `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, alias: champion}}
  strategy:
    canary: {stable: stable, candidate: next, steps: [{setWeight: ${succeeds ? 100 : 50}}${succeeds ? '' : ', {pause: {}}'}]}
`;
}

/** A gateway whose registry has model m with champion on version 1, and cannot always be read or written. */
class Gateway {
  readonly registry = { champion: '1', readable: true, before: async (): Promise<void> => {} };
  /** What threads are told, in order: the alias, and the candidate's buckets. */
  readonly told: string[] = [];
  /** The prints of journals that were opened. */
  readonly journals: string[] = [];
  readonly runtime: RouteRuntime;
  readonly aliases: RouteAliases;
  leads: boolean;
  private readonly routes: string;
  stale = false;
  private clock = 10_000;

  constructor(leads: boolean, routes = CANARY) {
    this.leads = leads;
    this.routes = routes;
    const versions = ['1', '2', '3'].map((version) => ({ version }));
    const table = () => ({ models: new Map([['m', { versions }]]) }) as never;
    const source: AliasSource = {
      read: async () => {
        if (!this.registry.readable) throw new Error('the registry is away');
        return new Map([['m', new Map([['champion', this.registry.champion]])]]);
      },
      move: async (_model, _alias, expected, version) => {
        await this.registry.before();
        if (this.registry.champion === expected) this.registry.champion = version;
        return this.registry.champion;
      },
    };
    const told = (aliases: AliasTable): void =>
      this.runtime.versionsChange(() => this.told.push(`champion ${aliases.get('m')?.get('champion')}`));
    this.aliases = new RouteAliases(source, table, told, () => {});
    this.runtime = new RouteRuntime({
      publishRoutes: () => {},
      publishState: (_route, { buckets }) =>
        this.told.push(`candidate ${buckets.reduce((sum, [slot, n]) => sum + (slot === 2 ? n : 0), 0)}`),
      table,
      aliases: this.aliases,
      aliasSource: source,
      node: 'this',
      fleet: {
        leading: () => this.leads,
        stale: () => this.stale,
        contributions: () => [],
        publish: async () => true,
        learnt: async () => 0,
        forget: async () => {},
      },
      save: async () => {},
      journal: (_route, print) => {
        this.journals.push(print);
        return {
          read: () => ({ entries: [], owners: new Set(), next: 0 }),
          decided() {},
          flush() {},
          drop() {},
        } as never;
      },
      log: () => {},
      now: () => this.clock,
    });
    this.runtime.restore(new Map());
    this.reload();
  }

  reload(): void {
    this.runtime.replace(parseRoutes([{ file: 'routes.yaml', text: this.routes }]));
  }

  get rollout() {
    return rolloutOf(this.runtime.routes.get('m')!.standing)?.state;
  }

  get standing(): string {
    return JSON.stringify(this.runtime.routes.get('m')!.standing);
  }

  /** The alias names another version, and that was read. */
  async moves(version: string): Promise<void> {
    this.registry.champion = version;
    await this.aliases.refresh();
  }

  /** A second passes, and what it set off comes to its end. */
  async tick(): Promise<void> {
    this.clock += 1000;
    this.runtime.tick();
    await this.settled();
  }

  async settled(): Promise<void> {
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
  }
}

test('who decides gives stable its traffic back once it has read that stable is the new version', async () => {
  const gateway = new Gateway(true);
  await gateway.settled();
  gateway.registry.readable = false;
  await gateway.tick();
  assert.equal(gateway.registry.champion, '2');
  for (let i = 0; i < 3; i++) await gateway.tick();
  assert.deepEqual([gateway.rollout?.phase, gateway.told.at(-1)], ['promoting', 'candidate 10000']);
  gateway.registry.readable = true;
  await gateway.tick();
  assert.equal(gateway.rollout?.phase, 'succeeded');
  assert.deepEqual(gateway.told.slice(-3), ['candidate 10000', 'champion 2', 'candidate 0']);
});

test('a gateway that hears of the promotion keeps the candidate until it has read the alias itself', async () => {
  const [leader, other] = [new Gateway(true), new Gateway(false)];
  // Both have read what champion is.
  for (const gateway of [leader, other]) await gateway.settled();
  leader.registry.readable = false;
  await leader.tick();
  other.runtime.follow('m', leader.standing);
  assert.equal(other.told.at(-1), 'candidate 10000');
  leader.registry.readable = true;
  await leader.tick();
  assert.equal(leader.rollout?.phase, 'succeeded');
  other.registry.champion = '2';
  other.registry.readable = false;
  other.runtime.follow('m', leader.standing);
  for (let i = 0; i < 3; i++) await other.tick();
  assert.equal(other.told.at(-1), 'candidate 10000');
  other.registry.readable = true;
  await other.tick();
  assert.deepEqual(other.told.slice(-3), ['candidate 10000', 'champion 2', 'candidate 0']);
  const { length } = other.told;
  other.runtime.follow('m', leader.standing);
  await other.tick();
  assert.equal(other.told.length, length, 'and is told once');
});

test('a reload while an alias is being moved does not stop the rollout, whatever comes of the move', async () => {
  const gateway = new Gateway(true);
  let fail = (): void => assert.fail('nothing was asked of the registry');
  gateway.registry.before = () =>
    new Promise((_resolve, reject) => {
      fail = () => reject(new Error('the registry is away'));
    });
  await gateway.settled();
  await gateway.tick();
  gateway.reload();
  fail();
  gateway.registry.before = async () => {};
  await gateway.tick();
  await gateway.tick();
  assert.deepEqual([gateway.rollout?.phase, gateway.registry.champion], ['succeeded', '2']);
});

test('a candidate that becomes another version loses its weight before it is served, and another one has to earn it', async () => {
  const gateway = new Gateway(true, followsCandidate(false));
  await gateway.moves('2');
  await gateway.tick();
  assert.deepEqual([gateway.rollout?.candidateVersion, gateway.rollout?.weight], ['2', 50]);
  gateway.told.length = 0;
  await gateway.moves('3');
  assert.deepEqual(gateway.told, ['candidate 0', 'champion 3']);
  await gateway.moves('2');
  assert.deepEqual(gateway.told.slice(2), ['champion 2', 'candidate 5000'], 'back to the one that is judged');
  await gateway.moves('3');
  gateway.told.length = 0;
  await gateway.tick();
  assert.deepEqual([gateway.rollout?.candidateVersion, gateway.told.at(-1)], ['3', 'candidate 5000']);
});

test('a gateway that follows gives a version nothing that its leader has not decided for', async () => {
  const [leader, other] = [new Gateway(true, followsCandidate(false)), new Gateway(false, followsCandidate(false))];
  for (const gateway of [leader, other]) await gateway.moves('2');
  await leader.tick();
  other.runtime.follow('m', leader.standing);
  other.told.length = 0;
  await other.moves('3');
  other.runtime.follow('m', leader.standing);
  assert.deepEqual(other.told, ['candidate 0', 'champion 3']);
});

test('a rollout that is over without moving an alias leaves its weight to no other version', async () => {
  const gateway = new Gateway(true, followsCandidate(true));
  await gateway.moves('2');
  for (let i = 0; i < 4; i++) await gateway.tick();
  assert.equal(gateway.rollout?.phase, 'succeeded');
  gateway.told.length = 0;
  await gateway.moves('3');
  assert.deepEqual(gateway.told, ['candidate 0', 'champion 3']);
});

const EXPERIMENT = `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {a: {model: m, version: "1"}, b: {model: m, alias: champion}}
  strategy:
    experiment: {split: {a: 50, b: 50}, primary: {metric: reward}, guardrails: [{metric: errors, nonInferiority: 2%}]}
`;

/** As gateway threads report them: so many requests of arm b by a version, all failed or none. */
function reported(gateway: Gateway, version: string, requests: number, status: 'ok' | 'internal'): void {
  const counts = { requests, errors: status === 'ok' ? 0 : requests, clientErrors: 0, sheds: 0, cancelled: 0 };
  const slice = { route: 'm', variant: 'b', assigned: 'b', version, role: 'arm' as const, analysed: true };
  const versions = { assignedVersion: version };
  const decision = {
    route: 'm',
    time: 0,
    assigned: 'b',
    served: 'b',
    version,
    assignedVersion: version,
    analysed: true,
    bucket: -1,
    unitHash: -1,
  };
  const rest = { tenant: '', proposed: undefined, features: undefined };
  const learning = Array.from({ length: requests }, (_, i) => ({
    ...{ ...decision, ...rest, id: `${version}-${i}`, status, latencyMs: 1, failedOver: false },
  }));
  const slices = [{ ...slice, ...versions, ...counts, fallbacks: 0, latency: [] }];
  gateway.runtime.activity({ slices, shadows: [], learning, lost: 0 });
}

function armB(gateway: Gateway): { version: string; requests: number; errors: number } {
  const live = gateway.runtime.routes.get('m')!;
  const results = experimentResults(live.document.spec, live.standing, gateway.runtime.data(live));
  const { version, requests, errors } = (results as { arms: ReturnType<typeof armB>[] }).arms[1];
  return { version, requests, errors };
}

test('an experiment begins anew when the alias of an arm moves, and counts nothing of the version before', async () => {
  const [leader, other] = [new Gateway(true, EXPERIMENT), new Gateway(false, EXPERIMENT)];
  for (const gateway of [leader, other]) await gateway.tick();
  other.runtime.follow('m', leader.standing);
  for (const gateway of [leader, other]) reported(gateway, '1', 500, 'internal');
  await leader.tick();
  other.runtime.follow('m', leader.standing);
  assert.deepEqual(armB(leader), { version: '1', requests: 500, errors: 500 });
  const before = leader.runtime.routes.get('m')!;
  assert.equal(before.join?.waiting, 500);
  const { state } = before.standing;

  await leader.moves('3');
  // Served, but not decided on yet.
  reported(leader, '3', 7, 'ok');
  assert.deepEqual(armB(leader), { version: '1', requests: 500, errors: 500 });
  await leader.tick();
  const after = leader.runtime.routes.get('m')!.standing;
  assert.deepEqual(armB(leader), { version: '3', requests: 0, errors: 0 });
  assert.match(after.history?.at(-1)?.message ?? '', /b is version 3 now, not 1/);
  assert.deepEqual(after.state.buckets, state.buckets, 'users stay where they are');
  assert.ok(after.state.version > state.version);
  assert.equal(leader.runtime.routes.get('m')?.join?.waiting, 0, 'rewards of the version before are not waited for');
  assert.deepEqual([new Set(leader.journals).size, leader.journals.at(-1)], [2, after.print]);

  other.runtime.follow('m', leader.standing);
  // The other has not read the alias yet, and a thread of this one reports late.
  for (const gateway of [leader, other]) {
    reported(gateway, '1', 200, 'internal');
    reported(gateway, '3', 40, 'ok');
    assert.deepEqual(armB(gateway), { version: '3', requests: 40, errors: 0 });
    assert.equal(gateway.runtime.routes.get('m')?.join?.waiting, 40);
  }
  await leader.tick();
  assert.equal(leader.runtime.routes.get('m')?.standing.print, after.print, 'once');
  leader.reload();
  assert.deepEqual(armB(leader), { version: '3', requests: 40, errors: 0 }, 'a reload of the same goes on');
});

test('copies that nobody answered are of the version that is served, where the policy has the choice', () => {
  const text = EXPERIMENT.replace('alias: champion', 'version: "2"').replace('version: "1"', '').replace('m, }', 'm}');
  const gateway = new Gateway(true, text);
  const copies = {
    route: 'm',
    variant: 'a',
    model: 'm',
    version: '',
    match: 0,
    mismatch: 0,
    failed: 3,
    dropped: 1,
    uncompared: 0,
  };
  gateway.runtime.activity({ slices: [], shadows: [{ ...copies, examples: [] }], learning: [], lost: 0 });
  const { sums } = gateway.runtime.routes.get('m')!.own;
  const failed = (version: string): number => shadowOf(sums, 'a', { model: 'm', version }).failed;
  assert.deepEqual([failed('3'), failed('')], [3, 0]);
});

const GATED = CANARY.replace('{setWeight: 50}', '{setWeight: 50}, {setMirror: {percent: 20}}, {pause: {}}').replace(
  'onPass:',
  'onFail: {over: 4s}, onPass:',
);

test('a canary that nobody judges goes back to stable in a ramp, and on where it stands when somebody does', async () => {
  const gateway = new Gateway(true, GATED);
  await gateway.settled();
  await gateway.tick();
  assert.deepEqual([gateway.rollout?.phase, gateway.told.at(-1)], ['gated', 'candidate 5000']);
  gateway.leads = false;
  gateway.stale = true;
  gateway.told.length = 0;
  for (let i = 0; i < 6; i++) await gateway.tick();
  assert.deepEqual(
    gateway.told,
    [5000, 3750, 2500, 1250, 0].map((share) => `candidate ${share}`),
  );
  gateway.reload();
  await gateway.settled();
  const served = gateway.runtime.states().get('m');
  assert.equal(served?.buckets.length, 1, 'also in what threads are told after a reload');
  assert.deepEqual([served?.mirror, served?.analysed], [0, false]);
  assert.deepEqual([gateway.rollout?.phase, gateway.rollout?.weight], ['gated', 50], 'nothing was decided');
  gateway.stale = false;
  await gateway.tick();
  assert.equal(gateway.told.at(-1), 'candidate 5000');
  assert.deepEqual([gateway.runtime.states().get('m')?.mirror], [0.2]);
});

test('a canary that is over stays where it ended though nobody decides', async () => {
  const gateway = new Gateway(true, CANARY.replace(', onPass: {setAlias: champion}', ''));
  await gateway.settled();
  await gateway.tick();
  assert.deepEqual([gateway.rollout?.phase, gateway.told.at(-1)], ['succeeded', 'candidate 10000']);
  gateway.stale = true;
  gateway.told.length = 0;
  for (let i = 0; i < 3; i++) await gateway.tick();
  assert.deepEqual(gateway.told, []);
});

const BANDIT = `apiVersion: switchyard/v1
kind: Route
metadata: {name: b}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy:
    bandit: {policy: thompsonBeta, arms: [stable, next], refresh: 500ms, reward: {wait: 5s}}
`;

test('a gateway that was taken for gone counts anew, and decisions that wait for rewards go on', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-renamed-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  let clock = 10_000;
  const runtime = new RouteRuntime({
    publishRoutes: () => {},
    publishState: () => {},
    table: () => ({ models: new Map() }) as never,
    aliases: { versionOf: () => '', follow: () => {} } as unknown as RouteAliases,
    aliasSource: {} as never,
    node: 'one',
    fleet: {
      leading: () => false,
      stale: () => false,
      contributions: () => [],
      publish: async () => true,
      learnt: async () => 0,
      forget: async () => {},
    },
    save: async () => {},
    journal: (_route, print) =>
      new WaitingJournal({ folder, print, owner: 'one', problem: (text) => assert.fail(text) }),
    log: (_level, message) => assert.fail(message),
    now: () => clock,
  });
  runtime.restore(new Map());
  runtime.replace(parseRoutes([{ file: 'routes.yaml', text: BANDIT }]));
  const slice = {
    ...{ route: 'b', variant: 'stable', assigned: 'stable', version: '1', role: 'arm', analysed: true, requests: 1 },
    ...{ errors: 0, clientErrors: 0, sheds: 0, cancelled: 0, fallbacks: 0, latency: [] },
  } as const;
  const decided = (id: string) => ({
    ...{ id, time: clock, route: 'b', tenant: '', assigned: 'stable', served: 'stable', analysed: true, bucket: -1 },
    ...{ unitHash: -1, pmf: [], proposed: undefined, snapshotVersion: 1, features: undefined, latencyMs: 1 },
    ...{ status: 'ok' as const, failedOver: false },
  });
  const count = (id: string) =>
    runtime.activity({ slices: [slice], shadows: [], learning: [decided(id)], lost: 0 } as never);
  const told = () => {
    const [{ sums, epochs, learnt }] = runtime.contributions().values();
    const matured = epochs.flatMap((node) => node.epochs.flatMap(({ arms }) => arms.map((arm) => arm.count)));
    return {
      nodes: epochs.map(({ node }) => node),
      requests: sums.slices.reduce((sum, { requests }) => sum + requests, 0),
      rewards: matured.reduce((sum, rewards) => sum + rewards, 0),
      learnt,
    };
  };
  count('a');
  clock += 3000;
  count('b');
  clock += 3000;
  runtime.tick();
  assert.deepEqual(told(), { nodes: ['one'], requests: 2, rewards: 1, learnt: 1 });
  runtime.rename('two');
  assert.deepEqual(told(), { nodes: ['two'], requests: 0, rewards: 0, learnt: 1 });
  count('c');
  clock += 3000;
  runtime.tick();
  assert.deepEqual(told(), { nodes: ['two'], requests: 1, rewards: 1, learnt: 2 });
  // Its folder is removed afterwards.
  await runtime.flush();
});
