import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Deployment, Follow } from '../registry/serving/types.ts';
import { type KeptState, readState, writeState } from './kept-state.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchyard-kept-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const deployment = (name: string, alias: string, served: string): Deployment => ({
  ...{ name, alias, served, version: '1', digest: 'd', requirements: '' },
});
const listed = (...models: Deployment[]): Follow => ({ models, everyAlias: '' });
const every = (everyAlias: string): Follow => ({ models: [], everyAlias });

test('what was kept of models that are followed still is there again, whatever else is followed now', async () => {
  const file = join(folder, 'state.json');
  const [one, two] = [deployment('m', 'champion', 'm'), deployment('n', 'champion', 'other')];
  assert.equal(await readState(file, listed(one)), undefined);
  const state: KeptState = { wanted: [one, two], standing: [two], recent: [['m', ['d']]] };
  await writeState(file, state);
  assert.deepEqual(await readState(file, listed(one, two)), state);
  assert.deepEqual(await readState(file, listed(deployment('new', 'champion', 'new'), one)), {
    ...state,
    ...{ wanted: [one], standing: [] },
  });
  assert.deepEqual(await readState(file, every('champion')), { ...state, wanted: [one], standing: [] });
});

test('what was followed by another alias, under another name, or not at all any more is not served', async () => {
  const file = join(folder, 'state.json');
  const one = deployment('m', 'champion', 'm');
  await writeState(file, { wanted: [one], standing: [one], recent: [] });
  for (const follow of [
    listed(deployment('m', 'challenger', 'm')),
    listed(deployment('m', 'champion', 'else')),
    listed(deployment('n', 'champion', 'm')),
    every('challenger'),
  ])
    assert.equal(await readState(file, follow), undefined);
});

test('a state of an earlier program, which kept what it followed as a whole, is read', async () => {
  const file = join(folder, 'state.json');
  const one = deployment('m', 'champion', 'm');
  await writeFile(file, JSON.stringify({ follow: 'a digest', wanted: [one], standing: [one], recent: [] }));
  assert.deepEqual(await readState(file, listed(one)), { wanted: [one], standing: [one], recent: [] });
});
