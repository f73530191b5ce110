import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { keepCheckpoint, placeCheckpoint } from './checkpoint.ts';

test('wherever preparing is cut off, the next try finds the checkpoint', async () => {
  const root = mkdtempSync(join(tmpdir(), 'checkpoint-'));
  try {
    const work = (attempt: number): string => join(root, `sy-a-${attempt}`, 'work');
    const kept = (attempt: number): string => join(root, `sy-a-${attempt}`, 'checkpoint');
    const target = join(work(2), 'deep', 'ckpt');
    const places = [target, kept(1), join(work(1), 'deep', 'ckpt')];
    mkdirSync(places[2], { recursive: true });
    writeFileSync(join(places[2], 'n'), 'one');
    /** Prepares the second attempt as far as `steps`. */
    const prepare = async (steps: number): Promise<void> => {
      assert.equal(await keepCheckpoint(kept(2), places), true);
      if (steps === 1) return;
      rmSync(work(2), { recursive: true, force: true });
      mkdirSync(work(2), { recursive: true });
      if (steps === 2) return;
      await placeCheckpoint(kept(2), target);
    };
    for (const steps of [1, 2, 3, 1, 3, 2, 3]) await prepare(steps);
    assert.equal(readFileSync(join(target, 'n'), 'utf8'), 'one');
    assert.equal(existsSync(kept(2)), false);
    // The second one never started, and the third was begun on nothing of its own.
    await prepare(2);
    assert.equal(await keepCheckpoint(kept(3), [join(work(3), 'deep', 'ckpt'), kept(2), target]), true);
    assert.equal(readFileSync(join(kept(3), 'n'), 'utf8'), 'one');
    assert.equal(await keepCheckpoint(kept(4), [join(work(4), 'deep', 'ckpt')]), false);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
