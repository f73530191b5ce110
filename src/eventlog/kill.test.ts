import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { killedAtRandom } from '../testing/log-faults.ts';
import { LogProcess } from '../testing/log-process.ts';
import { idsInLines, idsInParquet, spooledIds } from '../testing/logged-ids.ts';

/** .ci/run asks for 200. */
const KILLS = Number(process.env.SWITCHYARD_TEST_KILLS ?? 3);
/** Of these the whole program: its start costs ten times as much as that of its log, which is all that the others are of. */
const SERVER_KILLS = Math.ceil(KILLS / 10);
const LOG_KILLS = Math.max(2, KILLS - SERVER_KILLS);
const PER_MS = 2;

const dataDir = mkdtempSync(join(tmpdir(), 'eventlog-kill-'));
after(() => rmSync(dataDir, { recursive: true, force: true }));

const SETTINGS = {
  eventLog: {
    enabled: true,
    nice: 0,
    sinks: [
      { name: 'lines', kind: 'files', rotateBytes: 512 * 1024, keepFiles: 100_000 },
      { name: 'rows', kind: 'files', format: 'parquet', rotateBytes: 64 * 1024, rotateAfter: '1s', keepFiles: 100_000 },
    ],
  },
};

/** Records of one ring in one round: they are committed in their order, so all up to the last one that was seen. */
class Written {
  private readonly last = new Map<string, number>();
  private readonly labels = new Set<string>();

  saw(ids: Iterable<string>): void {
    for (const id of ids) {
      const at = id.lastIndexOf('.');
      const [stream, number] = [id.slice(0, at), Number(id.slice(at + 1))];
      if (stream.endsWith('label')) this.labels.add(id);
      else this.last.set(stream, Math.max(number, this.last.get(stream) ?? -1));
    }
  }

  *[Symbol.iterator](): Iterator<string> {
    yield* this.labels;
    for (const [stream, last] of this.last) for (let i = 0; i <= last; i++) yield `${stream}.${i}`;
  }
}

/** Some while it opens and some while it ends in good order, the others while it writes. */
async function killOnce(round: number, log: LogProcess, next: () => LogProcess): Promise<LogProcess> {
  const opened = log.open(dataDir, SETTINGS, round, PER_MS);
  if (round % 10 === 5) {
    opened.catch(() => {});
    await sleep(Math.random() * 300);
  } else {
    await opened;
    await sleep(Math.random() * 300);
    if (round % 10 === 8) {
      log.end();
      await sleep(Math.random() * 50);
    }
  }
  const prepared = next();
  await log.kill();
  return prepared;
}

test(`killed ${LOG_KILLS} times, a log that writes and sends loses nothing that was committed, and files have it once`, {
  timeout: 1_200_000,
}, async (t) => {
  let log = LogProcess.prepare();
  t.after(() => log.kill());
  const written = new Written();
  for (let round = 0; round < LOG_KILLS; round++) {
    const killed = log;
    log = await killOnce(round, killed, LogProcess.prepare);
    assert.equal(killed.stderr, '', 'what it logged as errors');
    written.saw(spooledIds(join(dataDir, 'eventlog/spool')));
    written.saw(killed.acknowledged);
  }
  await log.open(dataDir, SETTINGS, LOG_KILLS, 0);
  await log.closed();
  const { spool, sinks } = log.figures;
  assert.deepEqual([spool.setAside, spool.evicted, spool.errors], [0, 0, 0]);
  assert.ok(sinks.every(({ lost, refused, errors }) => lost + refused + errors === 0));
  const arrived = {
    lines: idsInLines(join(dataDir, 'eventlog/files/lines')),
    rows: await idsInParquet(join(dataDir, 'eventlog/files/rows')),
  };
  // What was committed and deleted from the spool, since every sink had it, shows here alone.
  for (const ids of Object.values(arrived)) written.saw(ids);
  const committed = [...written];
  for (const [sink, ids] of Object.entries(arrived)) {
    const there = new Set(ids);
    const lost = committed.filter((id) => !there.has(id));
    t.diagnostic(
      `${sink}: ${committed.length} committed, ${ids.length} delivered, ${ids.length - there.size} twice, ${lost.length} lost`,
    );
    assert.deepEqual(lost.slice(0, 10), [], `${lost.length} lost`);
    assert.equal(ids.length, there.size, 'none is there twice');
  }
  assert.ok(committed.length > LOG_KILLS, `${committed.length} committed`);
});

test(`nor does the whole program, killed ${SERVER_KILLS} times under requests`, { timeout: 600_000 }, async (t) => {
  const { committed, requests, sinks, unaccounted } = await killedAtRandom(SERVER_KILLS);
  for (const { name, lost, duplicates } of sinks)
    t.diagnostic(`${name}: ${requests} requests, ${committed} committed, ${duplicates} twice, ${lost} lost`);
  assert.deepEqual(sinks, [{ name: 'files', lost: 0, duplicates: 0 }]);
  assert.equal(unaccounted, 0);
  assert.ok(committed > 0);
});
