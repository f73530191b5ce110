import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Logger } from 'pino';
import type { AliasTable } from '../../pipeline/routed/route-version.ts';
import { scriptRepository, times, x } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';
import { Routes, type RoutesParts } from './routes.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-in-force-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const CANARY = {
  canary: {
    stable: 'only',
    candidate: 'next',
    steps: [{ setWeight: 50 }, { pause: {} }],
    onFail: { rollback: 'immediate' },
  },
};
const route = (name: string, version: string, strategy: object = { weighted: { only: 100 } }): object => ({
  apiVersion: 'switchyard/v1',
  kind: 'Route',
  metadata: { name },
  spec: {
    variants: {
      only: { model: 'm', version },
      ...('canary' in strategy ? { next: { model: 'm', version: '2' } } : {}),
    },
    strategy,
  },
});

/** Routes whose threads, registry and database are the test's. */
class Control {
  /** What threads were told and asked, in order. */
  readonly told: string[] = [];
  readonly warned: string[] = [];
  /** Lets the threads confirm what they were asked for. */
  confirm = (): void => {};
  readonly routes: Routes;
  /** Until the database has written where routes stand. */
  writing: Promise<void> = Promise.resolve();

  constructor() {
    const table = () => ({ models: new Map([['m', { versions: [{ version: '1' }, { version: '2' }] }]]) }) as never;
    const storage = {
      store: {
        load: async () => ({ documents: [], standings: new Map() }),
        putDocuments: async () => {},
        putStandings: () => this.writing,
      },
      subscribe: () => {},
    };
    this.routes = new Routes({
      config: { files: [], leaseSeconds: 10, staleSeconds: 120 },
      kafka: { brokers: [] as string[], inference: [] } as unknown as RoutesParts['kafka'],
      baseDir: scratch,
      dataDir: mkdtempSync(join(scratch, 'data-')),
      fleet: {
        setRoutes: (routes) => void this.told.push(`routes ${routes.map(({ metadata }) => metadata.name)}`),
        setRouteState: (name) => void this.told.push(`state of ${name}`),
        setAliases: (aliases: AliasTable) => void this.told.push(`champion ${aliases.get('m')?.get('champion')}`),
        routingTaken: () => {
          this.told.push('confirm');
          return new Promise((resolve) => {
            this.confirm = resolve;
          });
        },
        flushRoutes: async () => {},
      },
      table,
      models: async () => new Set(['m']),
      embedded: true,
      aliases: {
        read: async () => {
          for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
          return new Map([['m', new Map([['champion', '2']])]]);
        },
        move: async () => '',
      },
      aliasPollMs: 5000,
      storage: async () => storage as never,
      record: async (_events, learnt) => learnt,
      log: {
        info() {},
        error() {},
        warn: (_fields: object, text: string) => this.warned.push(text),
      } as never as Logger,
    });
  }

  change(name: string, body: object | undefined): Promise<void> {
    return this.routes.change([{ kind: 'Route', name, body: body && JSON.stringify(body) }], false);
  }
}

/** Runs what waits for nothing but its turn, then tells whether this is over. */
async function over(promise: Promise<unknown>): Promise<boolean> {
  let ended = false;
  const end = (): void => {
    ended = true;
  };
  promise.then(end, end);
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
  return ended;
}

test('a change is over when the threads have confirmed it', async () => {
  const control = new Control();
  for (const body of [route('front', '1'), route('front', '2'), undefined]) {
    control.told.length = 0;
    const changed = control.change('front', body);
    assert.equal(await over(changed), false);
    const told = control.told.filter((what) => !what.startsWith('champion'));
    assert.deepEqual(told, [body === undefined ? 'routes ' : 'routes front', 'confirm']);
    control.confirm();
    await changed;
  }
  control.told.length = 0;
  await control.routes.change([{ kind: 'Route', name: 'front', body: JSON.stringify(route('front', '1')) }], true);
  assert.deepEqual(control.told, [], 'what is only checked waits for nobody');
  const reloaded = control.routes.reload();
  assert.equal(await over(reloaded), false);
  control.confirm();
  assert.deepEqual(await reloaded, []);
});

test('what an alias of a new route means is in force with the route', async () => {
  const control = new Control();
  const document = JSON.parse(JSON.stringify(route('front', '1')).replace('"version":"1"', '"alias":"champion"'));
  const changed = control.change('front', document);
  assert.equal(await over(changed), false);
  assert.deepEqual(control.told, ['routes front', 'champion 2', 'confirm']);
  control.confirm();
  await changed;
});

test('a command to a canary is over when it is kept and the threads have confirmed it, and shows what they go by', async ({
  mock,
}) => {
  mock.timers.enable({ apis: ['setInterval'] });
  const control = new Control();
  await control.routes.start();
  const made = control.change('front', route('front', '1', CANARY));
  await over(made);
  control.confirm();
  await made;
  mock.timers.tick(2000);
  await over(new Promise(() => {}));
  control.told.length = 0;
  let written = (): void => {};
  control.writing = new Promise((resolve) => {
    written = resolve;
  });
  const aborted = control.routes.command('front', { type: 'abort' });
  assert.equal(await over(aborted), false);
  assert.deepEqual(control.told, ['state of front', 'confirm']);
  control.confirm();
  assert.equal(await over(aborted), false, 'a process that is killed now would not know of it');
  written();
  const { rollout } = (await aborted) as { rollout: { phase: string } };
  assert.equal(rollout.phase, 'rolledBack');
});

test('a thread that does not confirm holds an answer up for a while, not for ever', async ({ mock }) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const control = new Control();
  const changed = control.change('front', route('front', '1'));
  assert.equal(await over(changed), false);
  mock.timers.tick(5000);
  await changed;
  assert.deepEqual(control.warned, ['changed routes are not yet in force everywhere']);
});

test('whoever asks right after a route was made, replaced or removed is routed by it', async () => {
  const root = scriptRepository(scratch, {
    m: { versions: { 1: times(1), 2: times(2) }, config: 'version_policy: { all: {} }\n' },
  });
  const config = join(scratch, 'switchyard.yaml');
  writeFileSync(config, `models: {repositories: [${root}]}\nthreads: {gateways: 2, executors: 1}\n`);
  const server = await ServerProcess.start(['--config', config, '--no-supervise']);
  const ask = async (): Promise<string> => {
    const body = JSON.stringify({ inputs: x(1) });
    const response = await fetch(server.url('/v2/models/front/infer'), { method: 'POST', body });
    await response.arrayBuffer();
    return response.headers.get('x-switchyard-version') ?? String(response.status);
  };
  const change = async (method: string, document?: object): Promise<void> => {
    const url = `http://127.0.0.1:${server.ports.admin}/api/v1/routes/front`;
    const response = await fetch(url, { method, ...(document && { body: JSON.stringify(document) }) });
    assert.equal(response.status, 200, await response.text());
  };
  const seen: string[] = [];
  const expected: string[] = [];
  try {
    for (let turn = 0; turn < 30; turn++) {
      const version = String(1 + (turn % 2));
      if (turn % 3 === 2) await change('DELETE');
      else await change('PUT', route('front', version));
      // Over several connections, so that both threads are asked.
      seen.push(...(await Promise.all([ask(), ask(), ask()])));
      expected.push(...Array.from({ length: 3 }, () => (turn % 3 === 2 ? '404' : version)));
    }
  } finally {
    await server.stop();
  }
  assert.deepEqual(seen, expected);
  const late = server.log.filter(({ msg }) => msg === 'changed routes are not yet in force everywhere');
  assert.ok(late.length < 30, 'threads confirm');
});
