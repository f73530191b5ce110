import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Follow } from '../registry/serving/types.ts';
import { readState, writeState } from './kept-state.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchyard-kept-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const follow = (text: string) => ({ models: [text] }) as unknown as Follow;

test('what was kept is there again for the same models to follow, and not for others', async () => {
  const file = join(folder, 'state.json');
  assert.equal(await readState(file, follow('a')), undefined);
  const deployment = { name: 'm', alias: 'champion', served: 'm', version: '1', digest: 'd', requirements: '' };
  const state = { wanted: [deployment], standing: [], recent: [['m', ['d']] as [string, string[]]] };
  await writeState(file, follow('a'), state);
  assert.deepEqual(await readState(file, follow('a')), state);
  assert.equal(await readState(file, follow('b')), undefined);
});
