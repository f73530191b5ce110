import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allowedAlarms, simulateAlarms, sixColumns } from '../testing/false-alarms.ts';

// Without any threshold worth the name it is the test alone that decides: its level is what is stated.
const all = { psi: 1e-9, jensenShannon: 1e-9, lInfinity: 1e-9, wasserstein: 1e-9, ks: 1e-9 };
for (const statistics of [{ psi: 1e-9 }, all] as Record<string, number>[]) {
  test(`windows in which nothing changed are flagged no more often than stated: ${Object.keys(statistics)}`, () => {
    const rate = simulateAlarms({ statistics, shift: 0, seed: 1, references: 50, windows: 20, columns: sixColumns });
    assert.equal(rate.windows, 1000);
    assert.equal(rate.insufficient, 0);
    assert.ok(rate.flagged <= allowedAlarms(rate), `${rate.flagged} of ${rate.windows} windows are flagged`);
    const moved = simulateAlarms({ statistics, shift: 0.5, seed: 2, references: 5, windows: 4, columns: sixColumns });
    assert.equal(moved.flagged, moved.windows, 'one that did change is');
  });
}
