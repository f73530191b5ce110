import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { FeedbackRecord, LogRecord } from '../eventlog/record.ts';
import { monitorSchema } from './document.ts';
import { seededRandom } from './statistics/interval.ts';
import { type MonitorSource, MonitorStream, openStores } from './stream.ts';
import type { MonitorEvent, QualityWindow, Reference, WindowSums } from './types.ts';

const folder = mkdtempSync(join(tmpdir(), 'window-store-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const fail = (error: unknown): void => {
  throw error;
};

function specOf(rows: number, labels = true) {
  return monitorSchema.parse({
    apiVersion: 'switchyard/v1',
    kind: 'Monitor',
    metadata: { name: 'm' },
    spec: {
      model: 'm',
      reference: { records: 100 },
      window: { rows },
      slices: [{ by: 'tenant' }],
      ...(labels
        ? { quality: { prediction: 'outputs.y', window: { rows: 30 }, metrics: [{ metric: 'accuracy', min: 0.9 }] } }
        : {}),
    },
  }).spec;
}

/** Requests of two versions and their labels, as a log has them. */
function logOf(count: number): (LogRecord | FeedbackRecord)[] {
  const random = seededRandom(7);
  return Array.from({ length: count }, (_, i) => {
    const id = `r${i}`;
    if (i % 3 === 2) return { id: `r${i - 1}`, time: i, route: '', model: 'm', rewards: {}, label: '1', tenant: '' };
    const version = random() < 0.7 ? '1' : '2';
    return {
      ...{
        id,
        time: i,
        route: '',
        variant: '',
        model: 'm',
        version,
        digest: `d${version}`,
        status: 'ok',
        shadow: false,
      },
      ...{ tenant: random() < 0.5 ? 'a' : 'b', entity: '', redactions: [] as string[] },
      features: [{ name: 'x', datatype: 'FP64', shape: [1], values: [random()] }],
      predictions: [{ name: 'y', datatype: 'INT64', shape: [1], values: [random() < 0.8 ? 1 : 0] }],
    } as unknown as LogRecord;
  });
}

/** Reads such a log, from wherever it is told to. */
class Reader implements MonitorSource {
  readonly name = 'log';
  at = 0;
  keptAt = 0;
  private readonly log: readonly (LogRecord | FeedbackRecord)[];

  constructor(log: Reader['log']) {
    this.log = log;
  }

  place(): number {
    return this.at;
  }

  begin(place: unknown): void {
    this.at = place as number;
  }

  kept(place: unknown): void {
    if (place !== undefined) this.keptAt = place as number;
  }

  show(stream: MonitorStream, count: number): void {
    for (const record of this.log.slice(this.at, this.at + count))
      if ('features' in record) stream.consume([record]);
      else stream.feedback([record]);
    this.at = Math.min(this.log.length, this.at + count);
  }
}

/** What the control thread has taken in: each event once, whenever it was told. */
class Listener {
  references: Reference[] = [];
  readonly windows: WindowSums[] = [];
  readonly quality: QualityWindow[] = [];

  take(event: MonitorEvent, again: boolean): void {
    if (event.kind === 'labels') return;
    if (event.kind === 'reference') {
      const { version } = event.reference;
      this.references = [...this.references.filter((each) => each.version !== version), event.reference];
      return;
    }
    const list: { firstId: string; lastId: string }[] = event.kind === 'window' ? this.windows : this.quality;
    const { window } = event;
    const known = list.some(({ firstId, lastId }) => firstId === window.firstId && lastId === window.lastId);
    assert.ok(again || !known, `${event.kind} of ${window.firstId} came twice, as if for the first time`);
    if (!known) list.push(window);
  }
}

/** `kills` times it ends without a word, at any step, also between an event and the answer to it. */
function play(log: readonly (LogRecord | FeedbackRecord)[], file: string, kills: number, labels: boolean): Listener {
  const random = seededRandom(kills + 1);
  const listener = new Listener();
  let killAt = kills === 0 ? Number.POSITIVE_INFINITY : log.length / (kills + 1);
  for (let killed = 0; ; killed++) {
    const stores = openStores(file, fail);
    const reader = new Reader(log);
    const stream = new MonitorStream(
      (event, number, again) => {
        // Neither taken in nor answered for, or taken in alone.
        if (killed < kills && random() < 0.1) return;
        listener.take(event, again);
        if (number > 0 && (killed === kills || random() < 0.8)) stream.heard(number);
      },
      () => stores,
    );
    stream.follow(reader, true);
    stream.set([{ name: 'm', spec: specOf(100, labels), generation: 0, references: listener.references }]);
    let now = 0;
    while (reader.at < Math.min(log.length, killAt)) {
      reader.show(stream, 1 + Math.floor(random() * 20));
      now += 100;
      stream.settle(now);
      if (random() < 0.3) stream.tick(now);
    }
    if (reader.at >= log.length) {
      stream.close();
      return listener;
    }
    killAt += log.length / (kills + 1);
  }
}

for (const labels of [true, false]) {
  test(`of a log that is read again after each of 60 kills every record counts once, ${labels ? 'with' : 'without'} labels`, () => {
    const log = logOf(6000);
    const whole = play(log, join(folder, `whole-${labels}.db`), 0, labels);
    const killed = play(log, join(folder, `killed-${labels}.db`), 60, labels);
    assert.ok(whole.windows.length >= 35 && whole.quality.length >= (labels ? 50 : 0), 'there is something to compare');
    const plain = (listener: Listener) => ({
      windows: listener.windows.sort((a, b) => a.to - b.to),
      quality: listener.quality.sort((a, b) => a.to - b.to),
      references: listener.references
        .map(({ frozenAt, ...rest }) => rest)
        .sort((a, b) => (a.version < b.version ? -1 : 1)),
    });
    assert.deepEqual(plain(killed), plain(whole));
  });
}

test('windows of other settings begin anew, and what was told of a monitor that is no more is not told again', () => {
  const file = join(folder, 'settings.db');
  const log = logOf(400);
  const told: [string, boolean][] = [];
  const open = (rows: number | undefined): { stream: MonitorStream; reader: Reader } => {
    const reader = new Reader(log);
    const stream = new MonitorStream(
      (event, _, again) => event.kind !== 'labels' && told.push([event.kind, again]),
      () => openStores(file, fail),
    );
    stream.follow(reader, true);
    stream.set(rows === undefined ? [] : [{ name: 'm', spec: specOf(rows), generation: 0, references: [] }]);
    return { stream, reader };
  };
  const first = open(1000);
  first.reader.show(first.stream, 300);
  first.stream.close();
  assert.deepEqual(new Set(told.splice(0).map(([kind]) => kind)), new Set(['reference', 'quality']));
  const other = open(999);
  assert.equal(other.reader.at, 300, 'it goes on where it was');
  assert.ok(told.length > 0 && told.every(([, again]) => again), 'nobody had answered for them');
  told.splice(0);
  other.reader.show(other.stream, 30);
  other.stream.tick(Date.now() + 1e9);
  assert.ok(!told.some(([kind]) => kind === 'window'), 'what was counted by other settings is in no window');
  other.stream.close();
  told.splice(0);
  const none = open(undefined);
  assert.deepEqual(told, []);
  none.stream.close();
  assert.equal(open(1000).reader.at, 0, 'a place where nobody counts is not kept');
});
