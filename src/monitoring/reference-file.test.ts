import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { LogRecord } from '../eventlog/record.ts';
import { monitorSchema } from './document.ts';
import { referenceFromFile } from './reference-file.ts';
import { MonitorStream } from './stream.ts';
import type { MonitorEvent } from './types.ts';
import { judgeWindow } from './verdict.ts';

const folder = mkdtempSync(join(tmpdir(), 'monitor-reference-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const { spec } = monitorSchema.parse({
  apiVersion: 'switchyard/v1',
  kind: 'Monitor',
  metadata: { name: 'm' },
  spec: {
    model: 'm',
    reference: { file: 'train.csv', columns: { 'f*': 'inputs.x[*]' } },
    window: { rows: 1000 },
    columns: { include: ['inputs.*'] },
  },
});

function csv(name: string, head: string, rows: number): string {
  const file = join(folder, name);
  const lines = Array.from({ length: rows }, (_, i) => `${(i * 37) % 101},${(i * 53) % 97},x`);
  writeFileSync(file, `${head}\n${lines.join('\n')}\n`);
  return file;
}

test('every version begins with the reference of a file, by the names that the log has', async () => {
  const base = await referenceFromFile('m', spec, csv('train.csv', 'f0,f1,label', 2000));
  assert.deepEqual(
    base.columns.map(({ name }) => name),
    ['inputs.x[0]', 'inputs.x[1]'],
  );
  const events: MonitorEvent[] = [];
  const stream = new MonitorStream((event) => events.push(event));
  stream.set([{ name: 'm', spec, generation: 0, references: [], base }]);
  for (let i = 0; i < 2000; i++) {
    const moved = i < 1000 ? 0 : 40;
    const values = [((i * 37) % 101) + moved, (i * 53) % 97];
    const record = { id: `${i}`, time: i, model: 'm', version: '3', digest: 'd', status: 'ok', shadow: false };
    const features = [{ name: 'x', datatype: 'FP32', shape: [1, 2], values }];
    stream.consume([{ ...record, features, predictions: [], redactions: [] } as unknown as LogRecord]);
  }
  const reference = events.find((event) => event.kind === 'reference');
  assert.ok(reference?.kind === 'reference' && reference.reference.version === '3', 'the version has its own');
  const windows = events.flatMap((event) => (event.kind === 'window' ? [event.window] : []));
  const states = windows.map((window) => judgeWindow(spec, base, window).state);
  assert.deepEqual(states, ['ok', 'drifted']);
});

test('a file that does not fit is refused with what it has and what to do', async () => {
  await assert.rejects(
    referenceFromFile('m', spec, csv('other.csv', 'a,b,label', 2000)),
    /no column that is watched; it has a, b, label\. Say in reference\.columns/,
  );
  await assert.rejects(
    referenceFromFile('m', spec, csv('short.csv', 'f0,f1,label', 20)),
    /has 20 rows, and minRows is 1000/,
  );
  await assert.rejects(referenceFromFile('m', spec, join(folder, 'none.csv')), /there is no such file/);
});
