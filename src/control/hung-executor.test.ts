import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-hung-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const BAD = 666;
const HANG = 'parameters { key: "switchyard.hang_timeout_ms" value { string_value: "3000" } }';

/** Answers like `times(3)`, but never returns for the bad value: `stop` is what it does then. */
function hangs(stop: string): string {
  return `import { readFileSync } from 'node:fs';
export const execute = ({ x }) => {
  if (x.data[0] === ${BAD}) ${stop}
  return { y: { datatype: 'FP32', shape: x.shape, data: x.data.map((v) => v * 3) } };
};
`;
}

/** One executor for all models, so that the hung one holds everything up. */
async function serve(name: string, repository: string): Promise<ServerProcess> {
  const config = join(scratch, `${name}.yaml`);
  writeFileSync(config, `models: {repositories: [${repository}]}\nthreads: {gateways: 1, executors: 1}\n`);
  return ServerProcess.start(['--config', config]);
}

async function metric(server: ServerProcess, name: string): Promise<string | undefined> {
  const text = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  return text.split('\n').find((line) => line.startsWith(`${name} `));
}

const answers = (server: ServerProcess, model: string): Promise<boolean> =>
  infer(server, model, x(1)).then(({ status }) => status === 200);

test('a model that loops for ever loses its executor, others go on, and the third time the version before it serves', async () => {
  const server = await serve(
    'loops',
    scriptRepository(scratch, {
      loops: { versions: { 1: times(2), 2: hangs('for (;;) {}') }, config: HANG },
      fine: { versions: { 1: times(5) } },
    }),
  );
  after(() => server.stop());
  const first = await infer(server, 'loops', x(1));
  assert.equal(first.body.model_version, '2');
  for (let hang = 1; hang <= 3; hang++) {
    const { status, body } = await infer(server, 'loops', x(BAD));
    assert.equal(status, 503, body.error);
    await until('the other model answers', () => answers(server, 'fine'));
    await until('the model answers', () => answers(server, 'loops'));
    assert.equal(
      await metric(server, 'switchyard_executors_replaced_total{reason="hung"}'),
      `switchyard_executors_replaced_total{reason="hung"} ${hang}`,
    );
  }
  await until('the version before it serves', async () => {
    const { body } = await infer(server, 'loops', x(1));
    return body.model_version === '1' && body.outputs?.[0].data[0] === 2;
  });
  const index = (await (await fetch(server.url('/v2/repository/index'), { method: 'POST' })).json()) as {
    name: string;
    version: string;
    state: string;
    reason?: string;
  }[];
  const bad = index.find(({ name, version }) => name === 'loops' && version === '2');
  assert.equal(bad?.state, 'UNAVAILABLE');
  assert.match(bad?.reason ?? '', /hung 3 times/);
  assert.equal((await infer(server, 'loops', x(BAD))).status, 200, 'the version that serves now takes it');
  assert.match(String((await metric(server, 'switchyard_executors_stuck')) ?? ''), / 0$/);
  assert.equal(await server.stop(), 0);
});

test('a thread inside native code that never returns is left behind, and neither others nor the end wait for it', async () => {
  const fifo = join(scratch, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const server = await serve(
    'native',
    scriptRepository(scratch, {
      stuck: { versions: { 1: hangs(`readFileSync(${JSON.stringify(fifo)});`) }, config: HANG },
      fine: { versions: { 1: times(5) } },
    }),
  );
  after(() => server.stop());
  // Loading SQLite's library asks every thread for a report, and waits for it: that shall be over.
  await fetch(`http://127.0.0.1:${server.ports.admin}/api/2.0/mlflow/experiments/search?max_results=1`);
  assert.equal((await infer(server, 'stuck', x(BAD))).status, 503);
  await until('the other model answers', () => answers(server, 'fine'));
  await until('the model answers', () => answers(server, 'stuck'));
  await until('the thread is given up', async () =>
    ((await metric(server, 'switchyard_executors_stuck')) ?? '').endsWith(' 1'),
  );
  // A log line says so.
  await server.waitFor(({ reason }) => /does not return from native code/.test(String(reason)));
  assert.equal(await server.stop(), 0);
  // No reader is left: the process is gone.
  assert.throws(() => closeSync(openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK)), { code: 'ENXIO' });
});
