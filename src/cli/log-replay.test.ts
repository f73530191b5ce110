import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parquetReadObjects } from 'hyparquet';
import { cli } from '../testing/cli.ts';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-replay-'));
let server: ServerProcess | undefined;
after(async () => {
  await server?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

interface Row {
  id: string;
  model: string;
  replayed: string;
}

async function rowsBelow(folder: string, name: RegExp): Promise<Row[]> {
  const rows: Row[] = [];
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !name.test(entry.name)) continue;
    const bytes = readFileSync(join(entry.parentPath, entry.name));
    const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
    rows.push(...((await parquetReadObjects({ file, columns: ['id', 'model', 'replayed'] })) as unknown as Row[]));
  }
  return rows;
}

test('log replay sends a range to a sink again, marked, and the live sinks stand where they stood', async () => {
  const root = scriptRepository(scratch, { a: { versions: { 1: times(2) } }, b: { versions: { 1: times(3) } } });
  const config = join(scratch, 'config.yaml');
  const sinks = [
    { name: 'lines', kind: 'files' },
    { name: 'table', kind: 'files', format: 'parquet', partitionBy: ['date'], rotateAfter: '200ms' },
  ];
  writeFileSync(config, JSON.stringify({ eventLog: { enabled: true, sinks } }));
  server = await ServerProcess.start(['--config', config, '--model-repository', root]);
  const adminUrl = `http://127.0.0.1:${server.ports.admin}`;
  const admin = ['--admin', adminUrl];
  for (let i = 0; i < 6; i++) assert.equal((await infer(server, i % 2 === 0 ? 'a' : 'b', x(1))).status, 200);
  const status = async () => JSON.parse((await cli(['log', 'status', ...admin, '-o', 'json'])).out);
  const figures = async () =>
    (await status()).sinks.map(({ sent, backlog }: Record<string, number>) => [sent, backlog]);
  const all = [
    [6, 0],
    [6, 0],
  ];
  await until('both sinks have everything', async () => JSON.stringify(await figures()) === JSON.stringify(all));
  const to = new Date(Date.now() + 1).toISOString();
  const replay = (...more: string[]) => cli(['log', 'replay', '--sink', 'table', '--to', to, ...more, ...admin]);
  const first = await replay('--model', 'a');
  assert.equal(first.code, 0, first.err);
  const mark = /^3 records sent to table, marked ([0-9a-f]{12})$/.exec(first.out)?.[1];
  assert.ok(mark, first.out);
  // Done again, it replaces what it made.
  assert.equal((await replay('--model', 'a')).out, first.out);
  const folder = join(server.dataDir, 'eventlog/files/table');
  const again = await rowsBelow(folder, new RegExp(`^replay-${mark}-inference-\\d+\\.parquet$`));
  assert.deepEqual(
    [again.length, ...new Set(again.map(({ model, replayed }) => `${model} ${replayed}`))],
    [3, `a ${mark}`],
  );
  const live = await rowsBelow(folder, /^inference-/);
  assert.equal(live.length, 6);
  assert.ok(again.every(({ id }) => live.some((row) => row.id === id && row.replayed === '')));
  assert.deepEqual(await figures(), all, 'no cursor moved');
  const lines = await cli(['log', 'replay', '--sink', 'lines', '-o', 'json', ...admin]);
  const { sent, source, status: how } = JSON.parse(lines.out) as { sent: number; source: string; status: string };
  assert.deepEqual([sent, source, how], [6, 'table', 'succeeded']);
  const wrong = async (...args: string[]) => (await cli(['log', 'replay', ...args, ...admin])).err;
  assert.match(await wrong('--sink', 'none'), /there is no sink "none"; eventLog\.sinks has lines, table/);
  assert.match(await wrong('--sink', 'lines', '--source', 'none'), /source: there is no sink "none".*lines, table/);
  assert.match(
    await wrong('--sink', 'table', '--from', 'noon'),
    /from: "noon" is no time; give milliseconds since 1970/,
  );
  assert.match(await wrong('--sink', 'table', '--from', to, '--to', '2026-01-01T00:00:00Z'), /is not before "to"/);
  const api = `${adminUrl}/api/v1/log/replays`;
  const page = (await (await fetch(`${api}?limit=1`)).json()) as {
    replays: { sink: string; id: string }[];
    next_page_token: string;
  };
  assert.equal(page.replays[0].sink, 'lines');
  const next = (await (await fetch(`${api}?limit=5&page_token=${page.next_page_token}`)).json()) as typeof page;
  assert.deepEqual(
    next.replays.map(({ sink }) => sink),
    ['table', 'table'],
  );
  const cancelled = await fetch(`${api}/${page.replays[0].id}/cancel`, { method: 'POST' });
  assert.equal(((await cancelled.json()) as { status: string }).status, 'succeeded', 'it had ended');
  assert.equal((await fetch(`${api}/none`)).status, 404);
});
