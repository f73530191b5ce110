import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { exportRows, type LabelledRow } from '../../monitoring/labels.ts';
import { openDatasets } from '../../testing/datasets.ts';
import { keepLabelledRows } from './labelled-rows.ts';

test('rows that a retraining learns from are a version of a dataset, and the same rows again are that version', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'labelled-rows-'));
  const { server, services } = await openDatasets({ folders: [folder] });
  try {
    const rows = (count: number): LabelledRow[] =>
      Array.from({ length: count }, (_, i) => ({
        id: String(100 + i),
        time: 1_700_000_000_000 + i,
        tenant: '',
        version: '1',
        entity: i === 0 ? 'a, "b"' : '',
        predicted: 0,
        columns: ['inputs.x', 'inputs.city', 'outputs.y'],
        values: [i / 2, i === 1 ? null : 'Köln', 0],
        slices: [],
        label: i % 2,
      }));
    const file = join(folder, 'rows.csv');
    const keep = (count: number) => {
      const { rows: _, bytes: __, ...which } = exportRows(rows(count), file, { 'inputs.x': 'x' });
      const name = 'retraining.m';
      return keepLabelledRows(services.datasets, { ...which, name, file, monitor: 'm', retraining: 'r', model: 'm' });
    };
    const first = await keep(4);
    assert.deepEqual([first.version, first.rows, first.actor], [1, 4, 'monitor m']);
    assert.deepEqual([first.source.kind, first.source.firstId, first.source.lastId], ['monitor', '100', '103']);
    const somebody = { actor: 'somebody' };
    const { batch } = await services.datasets.rows('retraining.m', 1, somebody, 0, 2);
    const found = Array.from({ length: 2 }, (_, row) => batch.columns.map((column) => column[row]).map(String));
    assert.deepEqual(found, [
      ['100', '1700000000000', '1', 'a, "b"', '0', 'Köln', '0'],
      ['101', '1700000000001', '1', 'null', '0.5', 'null', '1'],
    ]);
    assert.equal((await keep(4)).version, 1);
    assert.equal((await keep(5)).version, 2);
  } finally {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
