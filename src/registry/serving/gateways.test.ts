import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { endSilent, recordReport } from './gateways.ts';
import { AWAY_MS, type GatewayReport } from './types.ts';

let registry: RegistryUnderTest;
before(async () => {
  registry = await RegistryUnderTest.open();
  await registry.ok('POST', 'registered-models/create', { name: 'm' });
  for (let i = 0; i < 2; i++)
    await registry.ok('POST', 'model-versions/create', { name: 'm', source: 'mlflow-artifacts:/0/m' });
});
after(() => registry.close());

const reportOf = (gateway_id: string, version: string): GatewayReport => ({
  gateway_id,
  host: 'host',
  program_version: '1.0.0',
  started_at: 1,
  models: [{ served: 'm', name: 'm', alias: 'champion', version, digest: '', state: 'READY', problem: '' }],
  routes: [],
  decisions: [],
});
const report = (gateway: string, version: string, at: number) =>
  registry.registry.database.write((db) => recordReport(db, reportOf(gateway, version), at));
const historyOf = async (gateway: string): Promise<[string, number, number | null][]> => {
  const { models } = await registry.ok('GET', `/api/v1/registry/gateways/${gateway}/history`);
  return models.map(({ version, since, until }: { version: string; since: number; until: number | null }) => [
    version,
    since,
    until,
  ]);
};
const shown = async (gateway: string) => {
  const { gateways } = await registry.ok('GET', '/api/v1/registry/gateways');
  return gateways.find(({ gateway_id }: { gateway_id: string }) => gateway_id === gateway);
};

test('a gateway that goes silent is away, and what it served ended when it was last heard', async () => {
  const now = Date.now();
  const last = now - AWAY_MS - 1;
  await report('silent', '1', last - 1000);
  await report('silent', '1', last);
  await report('talking', '1', now);
  assert.equal((await shown('silent')).away, true);
  assert.deepEqual((await shown('silent')).models, []);
  assert.equal((await shown('talking')).away, false);
  assert.equal((await shown('talking')).models.length, 1);
  assert.deepEqual(await historyOf('silent'), [['1', last - 1000, last]]);
  assert.deepEqual(await historyOf('talking'), [['1', now, null]]);
});

test('the history ends by itself at the edge of silence, not before', async () => {
  const at = 1_000_000;
  await report('edge', '1', at);
  const look = (now: number) => registry.registry.database.write((db) => endSilent(db, now));
  const open = () =>
    registry.registry.database.read((db) =>
      db.selectFrom('gateway_models').select(['until']).where('gateway_id', '=', 'edge').execute(),
    );
  await look(at + AWAY_MS);
  assert.deepEqual(await open(), [{ until: null }]);
  await look(at + AWAY_MS + 1);
  assert.deepEqual(await open(), [{ until: at }]);
});

test('what each gateway serves is read for a whole page, and those away for long are left out', async () => {
  const now = Date.now();
  const day = 24 * 3600 * 1000;
  await report('list-a', '1', now);
  await report('list-b', '2', now);
  await report('list-c', '1', now - 8 * day);
  await report('list-d', '1', now - 6 * day);
  const listed = async (query: string): Promise<string[]> => {
    const { gateways } = await registry.ok('GET', `/api/v1/registry/gateways?${query}`);
    return gateways
      .filter(({ gateway_id }: { gateway_id: string }) => gateway_id.startsWith('list-'))
      .map(({ gateway_id, models }: { gateway_id: string; models: { name: string; version: string }[] }) =>
        [gateway_id, ...models.map(({ name, version }) => `${name}/${version}`)].join(' '),
      );
  };
  assert.deepEqual(await listed(''), ['list-a m/1', 'list-b m/2', 'list-d']);
  assert.deepEqual(await listed('away_days=0'), ['list-a m/1', 'list-b m/2']);
  assert.deepEqual(await listed('away_days=30'), ['list-a m/1', 'list-b m/2', 'list-c', 'list-d']);
  const { status, json } = await registry.call('GET', '/api/v1/registry/gateways?away_days=-1', {});
  assert.deepEqual([status, json.code], [400, 'invalid_argument']);
  const paged: string[] = [];
  let token = '';
  do {
    const page = await registry.ok('GET', `/api/v1/registry/gateways?limit=1&page_token=${token}`);
    paged.push(...page.gateways.map(({ gateway_id }: { gateway_id: string }) => gateway_id));
    token = page.next_page_token ?? '';
  } while (token !== '');
  assert.deepEqual(
    paged.filter((id) => id.startsWith('list-')),
    ['list-a', 'list-b', 'list-d'],
  );
});

test('a gateway that is away is forgotten, its history stays, and one that reports is refused', async () => {
  const now = Date.now();
  const last = now - AWAY_MS - 1000;
  await report('pod-1', '1', last);
  await report('pod-2', '1', now);
  const path = (id: string): string => `/api/v1/registry/gateways/${id}`;
  const events: unknown[] = [];
  const end = registry.registry.events.subscribe((event) => void events.push(event));
  assert.deepEqual(await registry.ok('DELETE', path('pod-1')), {});
  end();
  assert.match(JSON.stringify(events), /gateway.deleted.*pod-1/);
  assert.equal(await shown('pod-1'), undefined);
  assert.deepEqual(await historyOf('pod-1'), [['1', last, last]]);
  const there = await registry.call('DELETE', path('pod-2'), {});
  assert.deepEqual([there.status, there.json.code], [400, 'failed_precondition']);
  assert.match(there.json.error as string, /stop it/);
  assert.equal((await shown('pod-2')).models.length, 1);
  for (const id of ['pod-1', 'never-there']) {
    const { status, json } = await registry.call('DELETE', path(id), {});
    assert.deepEqual([status, json.code], [404, 'not_found'], id);
  }
  await report('pod-1', '2', now);
  assert.equal((await shown('pod-1')).first_seen, now, 'one that comes back is new');
});

test('a gateway that comes back begins anew: nobody knows what it served in between', async () => {
  const at = 2_000_000;
  await report('back', '1', at);
  await report('back', '1', at + AWAY_MS);
  await report('back', '1', at + 3 * AWAY_MS);
  await report('back', '2', at + 3 * AWAY_MS + 5);
  const rows = await registry.registry.database.read((db) =>
    db
      .selectFrom('gateway_models')
      .select(['version', 'since', 'until'])
      .where('gateway_id', '=', 'back')
      .orderBy('row_key')
      .execute(),
  );
  assert.deepEqual(rows, [
    { version: 1, since: at, until: at + AWAY_MS },
    { version: 1, since: at + 3 * AWAY_MS, until: at + 3 * AWAY_MS + 5 },
    { version: 2, since: at + 3 * AWAY_MS + 5, until: null },
  ]);
});

test('a wait whose client goes away ends with it', async () => {
  const { events } = registry.registry;
  const subscribe = events.subscribe.bind(events);
  let waiting = 0;
  events.subscribe = (listener) => {
    const end = subscribe(listener);
    waiting++;
    return () => {
      waiting--;
      end();
    };
  };
  const reaches = async (count: number): Promise<void> => {
    // Half of what the wait itself takes.
    for (let i = 0; waiting !== count; i++) {
      assert.ok(i < 1500, `${waiting} are waiting, not ${count}`);
      await sleep(20);
    }
  };
  const watch = (mark: string, wait_seconds: number, signal?: AbortSignal): Promise<Response> =>
    fetch(`${registry.url}/api/v1/registry/serving/watch`, {
      method: 'POST',
      body: JSON.stringify({ every_alias: 'champion', mark, wait_seconds }),
      ...(signal === undefined ? {} : { signal }),
    });
  const { mark } = (await (await watch('', 0)).json()) as { mark: string };
  const leaving = new AbortController();
  const waits = [1, 2, 3].map(() => watch(mark, 60, leaving.signal));
  await reaches(3);
  leaving.abort();
  for (const result of await Promise.allSettled(waits)) assert.equal(result.status, 'rejected');
  await reaches(0);
  assert.deepEqual(registry.errors, []);
});
