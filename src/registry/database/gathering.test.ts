import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Gathering } from './gathering.ts';

const ms = fc.double({ min: 0, max: 50, noNaN: true });

test('after a slow commit those just answered are waited for, until all are back', () => {
  const gathering = new Gathering();
  gathering.committed(8, 0, 100, 104);
  assert.equal(gathering.wait(1, 104), 2);
  assert.equal(gathering.wait(7, 105), 1);
  assert.equal(gathering.wait(8, 105), 0);
  assert.equal(gathering.wait(1, 106), 0);
});

test('after a quick commit nobody is waited for', () => {
  const gathering = new Gathering();
  gathering.committed(8, 0, 100, 101);
  assert.equal(gathering.wait(1, 101), 0);
});

test('a lone writer never waits, and nobody waits long', () => {
  fc.assert(
    fc.property(ms, ms, fc.nat(20), fc.nat(20), fc.nat(20), (took, later, writes, during, waiting) => {
      const gathering = new Gathering();
      assert.equal(gathering.wait(waiting, later), 0, 'nothing is known yet');
      gathering.committed(1, 0, 0, took);
      assert.equal(gathering.wait(1, took + later), 0, 'a lone writer');
      gathering.committed(writes, during, 0, took);
      const wait = gathering.wait(waiting, took + later);
      assert.ok(wait >= 0 && wait <= 2 + 1e-9, `waits ${wait} ms`);
      assert.ok(wait <= took / 2 + 1e-9, 'no longer than half a commit');
    }),
  );
});
