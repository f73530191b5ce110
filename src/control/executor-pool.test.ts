import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { credentials } from '@grpc/grpc-js';
import { ReplicaChannels } from '../backends/remote/channels.ts';
import { modelReady } from '../backends/v2grpc/client.ts';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-pool-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const ISOLATED = 'parameters { key: "switchyard.isolation" value { string_value: "process" } }';

/** Answers with its process's id. Loads only while there is no `gate`, and dies of the value 666. */
function pids(gate: string): string {
  return `import { existsSync } from 'node:fs';
while (existsSync(${JSON.stringify(gate)})) await new Promise((resolve) => setTimeout(resolve, 20));
export const execute = ({ x }) => {
  if (x.data.includes(666)) process.kill(process.pid, 'SIGKILL');
  return { y: { datatype: 'FP32', shape: x.shape, data: x.data.map(() => process.pid) } };
};
`;
}

async function serve(name: string, repository: string, executors = 2): Promise<ServerProcess> {
  const config = join(scratch, `${name}.yaml`);
  writeFileSync(config, `threads: {executors: ${executors}}\n`);
  return ServerProcess.start(['--config', config, '--model-repository', repository], {
    dataDir: join(scratch, `${name}-data`),
  });
}

const ask = async (server: ServerProcess, model: string, value = 1): Promise<{ status: number; answer: number }> => {
  const { status, body } = await infer(server, model, x(value));
  return { status, answer: Number(body.outputs?.[0]?.data[0]) };
};

interface Indexed {
  name: string;
  version: string;
  state: string;
  reason?: string;
}

async function index(server: ServerProcess, model: string): Promise<Indexed[]> {
  const response = await fetch(server.url('/v2/repository/index'), { method: 'POST' });
  return ((await response.json()) as Indexed[]).filter(({ name }) => name === model);
}

test('while the process of one instance is away, the others answer everything; while all are, the model says so on every port', async () => {
  const gate = join(scratch, 'gate');
  const repository = scriptRepository(scratch, {
    two: { versions: { 1: pids(gate) }, config: `instance_group [{ count: 2 }]\n${ISOLATED}` },
    fine: { versions: { 1: times(2) } },
  });
  const server = await serve('away', repository);
  const grpc = new ReplicaChannels(`127.0.0.1:${server.ports.grpc}`, credentials.createInsecure(), 1);
  const health = async (service: string): Promise<string> => {
    const request = Buffer.concat([Buffer.from([10, service.length]), Buffer.from(service)]);
    const answer = await grpc.unary('/grpc.health.v1.Health/Check', request, 60_000);
    return answer.equals(Buffer.from([8, 1])) ? 'SERVING' : 'NOT_SERVING';
  };
  const ready = async (): Promise<unknown[]> => [
    (await fetch(server.url('/v2/models/two/ready'))).status,
    (await fetch(server.url('/v2/models/two/versions/1/ready'))).status,
    await modelReady(grpc, 'two', '', 60_000),
    await modelReady(grpc, 'two', '1', 60_000),
    await health('two'),
    (await index(server, 'two'))[0].state,
  ];
  const yes = [200, 200, true, true, 'SERVING', 'READY'];
  try {
    const seen = new Set<number>();
    // Requests one at a time always find the first executor idle: several at once reach both.
    const round = async (): Promise<void> => {
      const answers = await Promise.all(Array.from({ length: 32 }, () => ask(server, 'two')));
      for (const { status, answer } of answers) {
        assert.equal(status, 200);
        seen.add(answer);
      }
    };
    await until('two processes answered', async () => {
      await round();
      return seen.size === 2;
    });
    const [first, second] = seen;
    writeFileSync(gate, '');
    const during = round();
    process.kill(first, 'SIGKILL');
    await during;
    // It stays away: nothing fails, and nothing is sent there for long.
    for (let i = 0; i < 20; i++) await round();
    assert.deepEqual(await ready(), yes);
    process.kill(second, 'SIGKILL');
    await until('the model is not ready', async () =>
      isDeepStrictEqual(await ready(), [503, 503, false, false, 'NOT_SERVING', 'UNAVAILABLE']),
    );
    assert.match(
      (await index(server, 'two'))[0].reason ?? '',
      /its process crashed with SIGKILL; it is being started again/,
    );
    assert.equal((await ask(server, 'two')).status, 503);
    // The server is: other models are served.
    assert.equal((await fetch(server.url('/v2/health/ready'))).status, 200);
    assert.equal(await health(''), 'SERVING');
    assert.equal((await ask(server, 'fine')).answer, 2);
    rmSync(gate);
    await until('the model is ready', async () => isDeepStrictEqual(await ready(), yes));
    seen.clear();
    await until('two processes answer again', async () => {
      await round();
      return seen.size === 2;
    });
    assert.ok(!seen.has(first) && !seen.has(second), 'new ones');
  } finally {
    grpc.close();
    await server.stop();
  }
});

test('a model whose executor thread ended is not ready until it is loaded again, though that fails at first', async () => {
  const gate = join(scratch, 'broken');
  const source = `import { existsSync } from 'node:fs';
export const initialize = () => {
  if (existsSync(${JSON.stringify(gate)})) throw new Error('the gate is shut');
};
export const execute = ({ x }) => {
  if (x.data.includes(666)) process.exit();
  return { y: { datatype: 'FP32', shape: x.shape, data: x.data } };
};
`;
  const server = await serve('thread', scriptRepository(scratch, { ends: { versions: { 1: source } } }));
  const state = async (): Promise<string> => {
    const [{ state, reason = '' }] = await index(server, 'ends');
    return `${(await fetch(server.url('/v2/models/ends/ready'))).status} ${state} ${reason}`;
  };
  try {
    // Of two instances, one goes at a time; each time the request itself fails, or takes the other along.
    writeFileSync(gate, '');
    await until(
      'no executor has it',
      async () => (await ask(server, 'ends', 666)).status === 503 && /^503/.test(await state()),
    );
    await until('loading it again has failed', async () =>
      /^503 UNAVAILABLE it cannot be loaded again: .*the gate is shut/.test(await state()),
    );
    rmSync(gate);
    await until('it is ready', async () => /^200 READY $/.test(await state()));
    assert.equal((await ask(server, 'ends')).answer, 1);
  } finally {
    await server.stop();
  }
});

test('the third process that a version brings down quarantines it, and the version before it serves', async () => {
  const repository = scriptRepository(scratch, {
    dies: {
      versions: { 1: times(2), 2: pids(join(scratch, 'no gate')) },
      config: `instance_group [{ count: 3 }]\n${ISOLATED}`,
    },
  });
  const server = await serve('dies', repository, 3);
  try {
    assert.ok((await ask(server, 'dies')).answer > 2, 'version 2 serves');
    // Each takes down an instance and the one it is sent to again, where that is back or not away yet.
    await until('version 1 serves', async () => {
      const { status, answer } = await ask(server, 'dies', 666);
      assert.ok(status === 503 || answer === 1332, `${status} ${answer}`);
      return status === 200;
    });
    const second = async (): Promise<Indexed> => (await index(server, 'dies'))[1];
    await until('version 2 has drained', async () => (await second()).state === 'UNAVAILABLE');
    assert.match((await second()).reason ?? '', /^quarantined: version 2 crashed or hung 3 times within a minute/);
  } finally {
    await server.stop();
  }
});
