import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { logFigures, total } from '../testing/log-figures.ts';
import { scriptRepository, times, until } from '../testing/script-models.ts';
import { ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-monitor-restart-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const ROWS = 8;
/** In requests. */
const REFERENCE = 20;
const WINDOW = 30;

test('windows that are not full go on after a restart and after kills: every request counts once', async (t) => {
  const dataDir = join(scratch, 'data');
  const root = scriptRepository(scratch, { scale: { versions: { 1: times(10) } } });
  const monitor = {
    ...{ apiVersion: 'switchyard/v1', kind: 'Monitor', metadata: { name: 'm' } },
    spec: { model: 'scale', reference: { records: REFERENCE * ROWS }, window: { rows: WINDOW * ROWS }, minRows: 100 },
  };
  writeFileSync(join(scratch, 'monitor.yaml'), JSON.stringify(monitor));
  const file = join(scratch, 'switchyard.yaml');
  // Each start begins a segment of the spool, and sinks soon need none of those before.
  const settings = { eventLog: { enabled: true, nice: 0 }, monitoring: { files: ['monitor.yaml'] } };
  writeFileSync(file, JSON.stringify(settings));
  const start = () => ServerProcess.start(['--config', file, '--model-repository', root], { dataDir });
  let server = await start();
  t.after(() => server.stop());
  const ids: string[] = [];
  const ask = async (count: number): Promise<void> => {
    const before = total(await logFigures(server), 'spooled_total');
    for (let i = 0; i < count; i++) {
      const data = Array.from({ length: ROWS }, () => Math.random());
      const body = JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [ROWS, 1], data }] });
      const answer = await fetch(server.url('/v2/models/scale/infer'), { method: 'POST', body });
      assert.equal(answer.status, 200, await answer.text());
      ids.push(String(answer.headers.get('x-switchyard-id')));
    }
    const spooled = async () => total(await logFigures(server), 'spooled_total') === before + count;
    await until('all are committed', spooled);
  };
  const windows = async () => {
    const answer = await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1/monitors/m/windows`);
    assert.equal(answer.status, 200);
    const { windows } = (await answer.json()) as { windows: Record<string, unknown>[] };
    return windows.reverse().map(({ first_request, last_request, rows }) => ({ first_request, last_request, rows }));
  };
  const expected = () => {
    const list: object[] = [];
    for (let at = REFERENCE; at + WINDOW <= ids.length; at += WINDOW)
      list.push({ first_request: ids[at], last_request: ids[at + WINDOW - 1], rows: WINDOW * ROWS });
    return list;
  };
  await until('the monitor counts', () => existsSync(join(dataDir, 'eventlog/monitor-labels.db')));
  await ask(REFERENCE - 5);
  await server.kill();
  server = await start();
  // The rest of the reference, and a part of the first window.
  await ask(15);
  server.child.kill('SIGTERM');
  await server.exited();
  server = await start();
  await ask(12);
  for (let i = 0; i < 3; i++) {
    await server.kill();
    server = await start();
    await ask(11);
  }
  await until('the windows are judged', async () => (await windows()).length >= expected().length);
  assert.ok(expected().length > 0);
  assert.deepEqual(await windows(), expected());
});
