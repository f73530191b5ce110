import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pino } from 'pino';
import { until } from '../../testing/script-models.ts';
import { Routes, type RoutesParts } from './routes.ts';

const PORT = 16_395;
const REDIS = '.ci/services/redis.sh';
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-commands-'));
const ended: (() => Promise<void>)[] = [];
after(async () => {
  for (const end of ended) await end();
  execFileSync(REDIS, ['stop', String(PORT)]);
  rmSync(scratch, { recursive: true, force: true });
});

/** The way to Redis of a gateway that is killed as it sends something: from then on nothing of it arrives. */
class Lifeline {
  port = 0;
  fatal: ((sent: string) => boolean) | undefined;
  dead = false;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  constructor() {
    this.server = createServer((socket) => {
      const redis = createConnection(PORT, '127.0.0.1');
      for (const one of [socket, redis]) {
        this.sockets.add(one);
        one.on('error', () => {});
        one.on('close', () => {
          socket.destroy();
          redis.destroy();
        });
      }
      if (this.dead) socket.destroy();
      redis.pipe(socket);
      socket.on('data', (data) => {
        if (this.fatal?.(data.toString('latin1')) === true) this.cut();
        if (!this.dead) redis.write(data);
      });
    });
  }

  async open(): Promise<void> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = (this.server.address() as { port: number }).port;
  }

  cut(): void {
    this.dead = true;
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

const ROUTE = `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy:
    canary:
      stable: stable
      candidate: next
      steps: [{setWeight: 20}, {pause: {}}, {setWeight: 40}, {pause: {}}, {setWeight: 60}, {pause: {}}]
`;

interface View {
  weights: { next: number };
  rollout?: { phase: string; history: { message: string }[] };
}

/** A control thread with one canary, without the threads that serve it. */
class Gateway {
  readonly lifeline = new Lifeline();
  private routes: Routes | undefined;

  async start(): Promise<void> {
    const folder = mkdtempSync(join(scratch, 'gateway-'));
    writeFileSync(join(folder, 'routes.yaml'), ROUTE);
    await this.lifeline.open();
    const versions = ['1', '2'].map((version) => ({ version }));
    const parts = {
      config: {
        ...{ files: ['routes.yaml'], redisUrl: `redis://127.0.0.1:${this.lifeline.port}` },
        ...{ leaseSeconds: 1, staleSeconds: 600 },
      },
      kafka: { brokers: [] },
      baseDir: folder,
      dataDir: folder,
      fleet: { setRoutes() {}, setRouteState() {}, setAliases() {}, async routingTaken() {}, async flushRoutes() {} },
      table: () => ({ models: new Map([['m', { versions }]]) }),
      models: async () => new Set(['m']),
      embedded: true,
      aliases: { read: async () => new Map(), move: async () => '' },
      aliasPollMs: 5000,
      storage: async () => ({
        store: {
          load: async () => ({ documents: [], standings: new Map() }),
          async putDocuments() {},
          async putStandings() {},
        },
        subscribe() {},
      }),
      record: async () => [],
      log: pino({ level: 'silent' }),
    };
    this.routes = new Routes(parts as unknown as RoutesParts);
    await this.routes.start();
    ended.push(async () => {
      this.lifeline.cut();
      await this.routes?.close();
    });
  }

  get view(): View {
    return this.routes!.get('m') as View;
  }

  get leads(): boolean {
    return (this.routes!.status() as { gateway: { leader: boolean } }).gateway.leader;
  }

  async promote(): Promise<void> {
    await this.routes!.command('m', { type: 'promote' });
  }
}

const redis = (...command: string[]): string =>
  execFileSync('redis-cli', ['-p', String(PORT), ...command], { encoding: 'utf8' }).trim();
/** Of the canary at its second weight, as it is published. */
const PUBLISHED = '"weight":40';

const KILLED: [when: string, fatal: (sent: string) => boolean, given: 'elsewhere' | 'there'][] = [
  ['before anything of it is published', (sent) => sent.includes(PUBLISHED), 'elsewhere'],
  ['before anything of a command given to itself is published', (sent) => sent.includes(PUBLISHED), 'there'],
  ['between what it led to and its end', (sent) => /xdel|lrem/i.test(sent), 'elsewhere'],
];
for (const [when, fatal, given] of KILLED)
  test(`a command is carried out once though the leader is killed ${when}`, async () => {
    execFileSync(REDIS, ['start', String(PORT)]);
    redis('flushall');
    const [leader, other] = [new Gateway(), new Gateway()];
    await leader.start();
    await until('it decides', () => leader.leads);
    await other.start();
    await until('both are at the gate', () =>
      [leader, other].every(({ view }) => view.rollout?.phase === 'gated' && view.weights.next === 0.2),
    );
    leader.lifeline.fatal = fatal;
    await (given === 'there' ? leader : other).promote();
    await until('it is killed', () => leader.lifeline.dead);
    await until('the other one decides', () => other.leads);
    await until('and carries out what the first one was told', () => other.view.weights.next === 0.4, 20_000);
    await until('nothing is left to be done', () => redis('xlen', 'sy:routes:rollout-commands') === '0');
    assert.deepEqual(
      [other.view.weights.next, other.view.rollout?.phase, promotions(other.view)],
      [0.4, 'gated', 1],
      'once',
    );
    await other.promote();
    assert.deepEqual([other.view.weights.next, promotions(other.view)], [0.6, 2], 'so is the next one');
    other.lifeline.cut();
  });

function promotions({ rollout }: View): number {
  return (rollout?.history ?? []).filter(({ message }) => message.startsWith('promoted')).length;
}
