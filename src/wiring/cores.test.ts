import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { native } from '../tensor/native.ts';
import { cli } from '../testing/cli.ts';
import { coreLists } from '../testing/core-lists.ts';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';
import { scriptJob } from '../testing/training.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-cores-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const usable = native?.usableCores() ?? [];
const skip = usable.length < 2 && 'Linux, the addon and two cores only';
const own = String(usable.at(-1));

/** Starts a server with `executors` of them on cores of their own, if it can. */
async function serve(repository: string, executors: number, env: Record<string, string> = {}): Promise<ServerProcess> {
  const config = join(repository, 'switchyard.yaml');
  const threads = { gateways: 1, executors, affinity: 'executors' };
  const eventLog = { enabled: true, sinks: [{ name: 'lines', kind: 'files' }] };
  writeFileSync(config, JSON.stringify({ models: { repositories: [repository] }, threads, eventLog }));
  const server = await ServerProcess.start(['--config', config], { env });
  after(() => server.stop());
  return server;
}

/** How many threads of the process have each list of cores. */
function counts(pid: number): Map<string, number> {
  const counted = new Map<string, number>();
  for (const list of coreLists(pid).values()) counted.set(list, (counted.get(list) ?? 0) + 1);
  return counted;
}

const NOTE = 'Cpus_allowed_list';

/** A model that appends the process and the cores that it is loaded on to a file; reads `stop` when it is asked for 666. */
function tells(file: string, stop = ''): string {
  return `import { appendFileSync, readFileSync } from 'node:fs';
const [, cores] = /${NOTE}:\\s*(\\S+)/.exec(readFileSync('/proc/thread-self/status', 'utf8'));
appendFileSync(${JSON.stringify(file)}, process.pid + ' ' + cores + '\\n');
export const execute = ({ x }) => {
  if (x.data[0] === 666) readFileSync(${JSON.stringify(stop)});
  return { y: { datatype: 'FP32', shape: x.shape, data: x.data } };
};
`;
}

test('an executor has a core that no other thread has, and child processes have all', { skip }, async () => {
  const [plain, isolated, job, fifo] = ['plain', 'isolated', 'job', 'fifo'].map((name) => join(scratch, name));
  execFileSync('mkfifo', [fifo]);
  const server = await serve(
    scriptRepository(scratch, {
      plain: {
        versions: { 1: tells(plain, fifo) },
        config: 'parameters { key: "switchyard.hang_timeout_ms" value { string_value: "1000" } }',
      },
      isolated: {
        versions: { 1: tells(isolated) },
        config: 'parameters { key: "switchyard.isolation" value { string_value: "process" } }',
      },
    }),
    1,
  );
  const all = coreLists(process.pid).get(process.pid);
  const pid = server.servingPid();
  for (const model of ['plain', 'isolated']) assert.equal((await infer(server, model, x(1))).status, 200);
  const lists = counts(pid);
  assert.equal(lists.get(own), 1);
  assert.deepEqual(
    [lists.size, lists.has(String(all))],
    [2, false],
    'one list for all other threads, without that core',
  );
  const told = [plain, isolated].map((file) => readFileSync(file, 'utf8').trim().split('\n'));
  assert.deepEqual(
    told[0].filter((line) => line.startsWith(`${pid} `)),
    [`${pid} ${own}`],
  );
  const children = told.flat().filter((line) => !line.startsWith(`${pid} `));
  assert.ok(children.length >= 3, 'both are proven in a child process, and one runs in one');
  for (const line of children) assert.equal(line.split(' ')[1], all);

  const file = join(scratch, 'job.yaml');
  writeFileSync(file, JSON.stringify(scriptJob(`grep ${NOTE} /proc/self/status > ${job}`)));
  const at = ['--admin', `http://127.0.0.1:${server.ports.admin}`];
  assert.equal((await cli(['jobs', 'submit', '-w', file, ...at])).code, 0);
  assert.equal(readFileSync(job, 'utf8').trim().split('\t')[1], all, 'a training job');

  assert.equal((await infer(server, 'plain', x(666))).status, 503);
  await until('the successor answers', async () => (await infer(server, 'plain', x(1))).status === 200);
  assert.equal(counts(pid).get(own), 1, 'it has the core, and the thread that hangs has not');
  assert.equal(await server.stop(), 0, 'the end waits for a thread that hangs only until it is given up');
});

test('with too few cores, or without the addon, threads run where they like, and one line says so', {
  skip,
}, async () => {
  const repository = scriptRepository(scratch, { fine: { versions: { 1: times(5) } } });
  const lines: Record<string, unknown>[] = [];
  for (const [executors, env] of [
    [usable.length, {}],
    [1, { SWITCHYARD_NATIVE: 'off' }],
  ] as const) {
    const server = await serve(repository, executors, env);
    assert.equal((await infer(server, 'fine', x(1))).status, 200);
    assert.equal(counts(server.servingPid()).size, 1);
    lines.push(...server.log.filter(({ msg }) => /affinity/.test(String(msg))));
    await server.stop();
  }
  assert.equal(lines.length, 2);
  assert.match(String(lines[0].msg), /no effect.*none is left/);
  assert.deepEqual([lines[0].cores, lines[0].executors], [usable, usable.length]);
  assert.match(`${lines[1].msg} ${lines[1].problem}`, /no effect.*addon.*SWITCHYARD_NATIVE=off/);
});
