import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timeline, timelineText } from './timeline.ts';

const points = [0, 1, 2, 3].map((at) => ({ at, value: at < 2 ? 1 : 0.2 }));
const moments = [
  { at: 0, what: 'it begins' },
  { at: 2, what: 'it <drifts>' },
];

test('a timeline has its line, its moments and their legend', () => {
  const svg = timeline('Title', 'unit', points, moments);
  assert.match(svg, /<path d="M50 50L/);
  assert.equal(svg.match(/stroke-dasharray/g)?.length, 2);
  assert.match(svg, /2\. 2\.0 s: it &lt;drifts&gt;/);
});

test('the same as text', () => {
  const text = timelineText(points, moments, 4);
  const rows = text.split('\n');
  assert.equal(rows[0], '1.0 |**  ');
  assert.equal(rows[8], '0.2 |  **');
  assert.equal(rows[11], '    +1-2-');
  assert.match(rows[13], /2\.0 s {2}it <drifts>/);
});
