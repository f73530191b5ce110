import assert from 'node:assert/strict';
import { test } from 'node:test';
import { idlePercent } from './gpu.ts';

test('the idle share is the mean over whole samples', () => {
  assert.equal(idlePercent('90\n 100\n[N/A]\n80\n1'), 10);
  assert.ok(Number.isNaN(idlePercent('')), 'without a sample nothing is known');
});
