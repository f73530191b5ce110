import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { firstLine, lineStarting } from './file-search.ts';

const folder = mkdtempSync(join(tmpdir(), 'file-search-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('a line is found by its beginning: the first, the last, over the edge of a chunk, and not inside another', async () => {
  const file = join(folder, 'lines');
  // Lines of all lengths about the size of a chunk, so that beginnings fall on every place of its edge.
  const lines = Array.from({ length: 40 }, (_, i) => `${i};${'x'.repeat(52_000 + 37 * i)}0;`);
  writeFileSync(file, `${lines.join('\n')}\n`);
  assert.equal(await firstLine(file), lines[0]);
  let offset = 0;
  for (const [i, line] of lines.entries()) {
    const found = await lineStarting(file, `${i};`);
    assert.equal(found?.line.length, line.length, `line ${i}`);
    assert.equal(found?.offset, offset);
    offset += line.length + 1;
  }
  assert.equal(await lineStarting(file, '40;'), undefined);
  assert.equal(await lineStarting(file, 'x'), undefined);
  for (let pad = 1024 * 1024 - 6; pad < 1024 * 1024 + 6; pad++) {
    writeFileSync(file, `${'y'.repeat(pad)}\nneedle`);
    assert.equal((await lineStarting(file, 'needle'))?.offset, pad + 1);
  }
});

test('an empty file has no line, and a search can be ended', async () => {
  const file = join(folder, 'empty');
  writeFileSync(file, '');
  assert.equal(await lineStarting(file, 'a'), undefined);
  assert.equal(await firstLine(file), '');
  writeFileSync(file, 'a\n');
  await assert.rejects(lineStarting(file, 'b', AbortSignal.abort()));
});
