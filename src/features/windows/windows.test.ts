import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { WINDOW_FEATURES, windowView } from '../../testing/windows.ts';
import { MemoryStore } from '../store/memory-store.ts';
import { eventOfObject, type WindowView } from './events.ts';
import { snapshotAt, windowsAt } from './replay.ts';
import { applyEvent, newState, type WindowEvent } from './state.ts';
import { decodeState, encodeState } from './state-text.ts';

const BASE = Date.UTC(2026, 0, 1);
const SPAN = 200_000;
const view = windowView();
const FIELDS = view.names.map((_, i) => i);
const KEYS = ['a', 'b', 'nobody'];

interface Raw {
  card: string;
  event_timestamp: number;
  arrived: number;
  amount: number | null;
  whole: number | string | null;
  shop: string | null;
  id?: string;
}

/** Up to ten seconds ahead of their arrival, and up to twice the allowed lateness behind it. */
const raw: fc.Arbitrary<Raw> = fc
  .record({
    card: fc.constantFrom('a', 'b'),
    at: fc.nat(SPAN),
    delay: fc.integer({ min: -10_000, max: 40_000 }),
    amount: fc.oneof(
      fc.constant(null),
      fc.integer({ min: -9, max: 9 }),
      fc.double({ min: -1e9, max: 1e9, noNaN: true }),
    ),
    whole: fc.oneof(fc.constant(null), fc.maxSafeInteger(), fc.constant('9007199254740995')),
    shop: fc.oneof(fc.constant(null), fc.constantFrom('x', 'y', 'z', 'v', 'w')),
  })
  .map(({ at, delay, ...rest }) => ({ ...rest, event_timestamp: BASE + at, arrived: BASE + at + delay }));

function read(of: WindowView, { arrived, ...row }: Raw): WindowEvent {
  return eventOfObject(of, row, arrived, Number.POSITIVE_INFINITY);
}

/** Three partitions, and how their records come: the next one of a partition, or again from an earlier one on. */
const deliveries = fc.record({
  rows: fc.array(fc.tuple(raw, fc.nat(2)), { maxLength: 60 }),
  steps: fc.array(fc.record({ partition: fc.nat(2), back: fc.nat(3), count: fc.integer({ min: 1, max: 5 }) }), {
    maxLength: 40,
  }),
  readAfter: fc.nat(100_000),
});

function deliver(
  partitions: readonly (readonly WindowEvent[])[],
  steps: readonly { partition: number; back: number; count: number }[],
): WindowEvent[] {
  const next = partitions.map(() => 0);
  const all = partitions.map((_, partition) => ({ partition, back: 0, count: Number.POSITIVE_INFINITY }));
  return [...steps, ...all].flatMap(({ partition, back, count }) => {
    const from = Math.max(0, next[partition] - back);
    const given = partitions[partition].slice(from, from + count);
    next[partition] = Math.max(next[partition], from + given.length);
    return given;
  });
}

function onlineValues(store: MemoryStore, of: WindowView): unknown[] {
  return store.read('t', [{ view: of, fields: FIELDS, keys: KEYS }])[0].map((found) => found?.values ?? null);
}

test('online values are those of training, however records of partitions interleave and come again', () => {
  fc.assert(
    fc.property(deliveries, ({ rows: drawn, steps, readAfter }) => {
      const events = drawn.map(([row, partition]) => ({ partition, event: read(view, row) }));
      const partitions = [0, 1, 2].map((partition) =>
        events
          .filter((each) => each.partition === partition)
          .map(({ event }, offset) => ({ ...event, origin: { source: `events/${partition}`, offset } })),
      );
      const now = Math.max(BASE, ...events.map(({ event }) => event.arrived)) + readAfter;
      const store = new MemoryStore(100, () => now);
      const given = deliver(partitions, steps);
      const counts = store.ingest('t', view, given);
      assert.equal(counts.kept + counts.late, events.length, 'each record counts once');
      assert.equal(counts.duplicate, given.length - events.length);
      const known = windowsAt(
        view.windows,
        events.map(({ event }) => event),
        KEYS,
        KEYS.map(() => now),
        FIELDS,
      );
      assert.deepEqual(onlineValues(store, view), known);
      const rows = new Map(
        snapshotAt(
          view.windows,
          events.map(({ event }) => event),
          now,
        ).map((row) => [row.key, row.values]),
      );
      assert.deepEqual(
        KEYS.map((key) => rows.get(key) ?? null),
        known,
        'as of a time, of all entities',
      );
    }),
    { numRuns: 300 },
  );
});

test('at every moment training sees what was online then, and each event with an id counts once', () => {
  const byId = windowView({ source: { id: 'id' } });
  const pushes = fc.array(fc.tuple(raw, fc.array(fc.nat(30_000), { maxLength: 2 })), { maxLength: 40 });
  fc.assert(
    fc.property(pushes, fc.array(fc.nat(SPAN + 50_000), { minLength: 1, maxLength: 10 }), (rows, moments) => {
      const events = rows
        .flatMap(([row, again], i) => {
          const named = { ...row, id: `event ${i}` };
          return [named, ...again.map((later) => ({ ...named, arrived: row.arrived + later }))];
        })
        .map((row) => read(byId, row))
        .sort((a, b) => a.arrived - b.arrived);
      let now = BASE;
      const store = new MemoryStore(100, () => now);
      let next = 0;
      for (const moment of moments.toSorted((a, b) => a - b)) {
        now = BASE + moment;
        for (; next < events.length && events[next].arrived <= now; next++) store.ingest('t', byId, [events[next]]);
        const known = windowsAt(
          byId.windows,
          events,
          KEYS,
          KEYS.map(() => now),
          FIELDS,
        );
        assert.deepEqual(onlineValues(store, byId), known, `at ${moment} ms`);
      }
    }),
    { numRuns: 200 },
  );
});

/** The same by the definition: all events of a window at once. */
function byDefinition(rows: readonly Raw[], at: number): unknown[] {
  return WINDOW_FEATURES.map((feature) => {
    const { name, aggregate } = feature as {
      name: string;
      aggregate: { of: string; column?: keyof Raw; window: string };
    };
    const [window, slide] = aggregate.window === '10s' ? [10_000, 10_000] : [60_000, 20_000];
    const end = Math.floor(at / slide) * slide;
    const within = rows.filter(({ event_timestamp: time }) => time >= end - window && time < end);
    const cells = within
      .toSorted((a, b) => a.event_timestamp - b.event_timestamp)
      .map((row) => (aggregate.column === undefined ? true : row[aggregate.column]))
      .filter((cell) => cell !== null);
    const numbers = cells.map(Number);
    const sum = numbers.reduce((a, b) => a + b, 0);
    const mean = sum / numbers.length;
    switch (aggregate.of) {
      case 'count':
        return cells.length;
      case 'countDistinct':
        return new Set(cells).size;
      case 'sum':
        return sum;
    }
    if (cells.length === 0) return null;
    if (aggregate.of === 'last') return cells.at(-1);
    if (aggregate.of === 'mean') return mean;
    if (aggregate.of === 'min') return Math.min(...numbers);
    if (aggregate.of === 'max') return Math.max(...numbers);
    assert.equal(aggregate.of, 'stddev', name);
    return Math.sqrt(numbers.reduce((total, each) => total + (each - mean) ** 2, 0) / numbers.length);
  });
}

test('windows hold what their definition says', () => {
  const row = fc.record({
    at: fc.nat(SPAN / 10),
    amount: fc.oneof(fc.constant(null), fc.integer({ min: -9, max: 9 })),
    whole: fc.oneof(fc.constant(null), fc.integer({ min: -99, max: 99 })),
    shop: fc.constantFrom(null, 'x', 'y', 'z'),
  });
  const rows = fc.uniqueArray(row, { selector: ({ at }) => at, maxLength: 40 });
  fc.assert(
    fc.property(rows, fc.nat(SPAN + 80_000), (drawn, moment) => {
      const all = drawn.map(({ at, ...rest }): Raw => {
        const event_timestamp = BASE + at * 10;
        return { ...rest, card: 'a', event_timestamp, arrived: event_timestamp };
      });
      const at = BASE + moment;
      const [found] = windowsAt(
        view.windows,
        all.map((each) => read(view, each)),
        ['a'],
        [at],
        FIELDS,
      );
      const past = all.filter(({ arrived }) => arrived <= at);
      const wanted = byDefinition(past, at);
      if (found === null) {
        const longest = Math.floor(at / 20_000) * 20_000 - 60_000;
        const inside = past.filter(
          ({ event_timestamp: time }) => time >= longest && time < Math.floor(at / 10_000) * 10_000,
        );
        assert.equal(inside.length, 0, 'events, and no value');
        return;
      }
      for (const [i, value] of wanted.entries())
        if (typeof value === 'number')
          assert.ok(Math.abs(Number(found[i]) - value) < 1e-9, `${view.names[i]}: ${String(found[i])}, not ${value}`);
        else assert.equal(found[i], value, view.names[i]);
    }),
    { numRuns: 300 },
  );
});

test('a state outlives its text, and keeps a bounded number of panes', () => {
  fc.assert(
    fc.property(fc.array(raw, { maxLength: 40 }), (rows) => {
      const whole = newState();
      let copied = newState();
      for (const [offset, row] of rows.entries()) {
        const event = { ...read(view, row), origin: { source: 's', offset } };
        applyEvent(view.windows, whole, event);
        applyEvent(view.windows, copied, event);
        copied = decodeState(view.windows, encodeState(copied));
      }
      assert.deepEqual(copied, whole);
    }),
    { examples: [[[{ card: 'a', amount: -0, whole: null, shop: null, event_timestamp: BASE, arrived: BASE }]]] },
  );
  const state = newState();
  for (let i = 0; i < 5000; i++) {
    const time = BASE + i * 7000;
    applyEvent(
      view.windows,
      state,
      read(view, { card: 'a', event_timestamp: time, arrived: time, amount: i, whole: i, shop: 'x' }),
    );
  }
  assert.ok(state.panes.size <= 2 + view.windows.keepMs / view.windows.paneMs, `${state.panes.size} panes are kept`);
});

test('events with clocks that are ahead are refused, and late ones are not counted into any window', () => {
  const row = { card: 'a', event_timestamp: BASE, amount: 1, whole: 1, shop: 'x' };
  assert.throws(
    () => eventOfObject(view, row, BASE - 60_001, Number.POSITIVE_INFINITY),
    /clock is 60 s ahead; 60 s are allowed/,
  );
  assert.throws(() => eventOfObject(view, row, BASE, BASE - 3_600_000), /clock is 3600 s ahead/);
  assert.throws(() => eventOfObject(view, { ...row, amount: 'x' }, BASE, BASE), /amount must be of type float64/);
  assert.throws(() => eventOfObject(view, { ...row, amount: 1e101 }, BASE, BASE), /finite numbers up to 1e\+100/);
  assert.throws(
    () => eventOfObject(view, { card: 'a', amount: 1 }, BASE, BASE),
    /needs event_timestamp, whole, shop too/,
  );
  const store = new MemoryStore(10, () => BASE + 30_000);
  const events = [20_000, 20_001].map((delay) => eventOfObject(view, row, BASE + delay, BASE + 30_000));
  assert.deepEqual(store.ingest('t', view, events), { kept: 1, late: 1, duplicate: 0 });
  assert.equal((onlineValues(store, view)[0] as unknown[])[1], 1);
});

test('memory says how many entities it had no room for while they were in use', () => {
  let now = BASE;
  const store = new MemoryStore(2, () => now);
  const push = (card: string): void => {
    store.ingest('t', view, [read(view, { card, event_timestamp: now, arrived: now, amount: 1, whole: 1, shop: 'x' })]);
  };
  for (const card of ['a', 'b', 'c']) push(card);
  assert.equal(store.dropped, 1);
  now += 3_600_000;
  push('d');
  assert.equal(store.dropped, 1, 'what has expired may go');
});
