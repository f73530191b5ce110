import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Worker } from 'node:worker_threads';
import { pino } from 'pino';
import { configSchema } from '../config/schema.ts';
import { DEFAULT_LOG_SETTINGS } from '../telemetry/log-settings.ts';
import { inDist } from '../testing/in-dist.ts';
import { finishedRequest, IRIS_TABLE } from '../testing/log-records.ts';
import { until } from '../testing/script-models.ts';
import type { EventLog } from './event-log.ts';
import { LogTap } from './handover/tap.ts';
import type { LogStatus } from './messages.ts';

// Worker threads run the built program: build first.
const built = inDist(fileURLToPath(new URL('./event-log.ts', import.meta.url)));
const dataDir = mkdtempSync(join(tmpdir(), 'switchyard-log-thread-'));
after(() => rmSync(dataDir, { recursive: true, force: true }));

/** What is left of the identities that docs/event-log.md states: 0 each. */
function left(status: LogStatus): number[] {
  const dropped = status.droppedBehind + status.droppedDisk + status.droppedThread + status.droppedEncoding;
  const { served, feedback, sampledOut, waiting, spooled } = status;
  return [
    served + feedback - sampledOut - dropped - waiting - spooled,
    ...status.sinks.map(
      ({ recovered, sent, refused, lost, backlog }) => recovered + spooled - sent - refused - lost - backlog,
    ),
  ];
}

test('figures add up at every moment, also when the log thread ends again and again', {
  timeout: 600_000,
}, async (t) => {
  const { EventLog: Built } = (await import(built)) as { EventLog: typeof EventLog };
  const config = configSchema.parse({ eventLog: { enabled: true, nice: 0 }, threads: { gateways: 1 } });
  const log = new Built({
    config,
    dataDir,
    baseDir: dataDir,
    logSettings: { ...DEFAULT_LOG_SETTINGS },
    logger: pino({ level: 'silent' }),
    routeRules: () => [],
  });
  t.after(() => log.close(10_000));
  await log.start();
  const tap = new LogTap(log.rings[0], config.eventLog, {
    table: () => IRIS_TABLE,
    random: () => 0.5,
    sendLarge: (record) => log.large(0, record),
  });
  let requests = 0;
  let labels = 0;
  const learn = async () => ({
    ...{ accepted: 0, forwarded: 0, recorded: 0, rejected: 1 },
    results: [{ id: 'l', result: 'unknown' }],
  });
  for (let round = 0; round < 4; round++) {
    for (let i = 0; i < 500; i++) tap.finished(finishedRequest({ id: `r${requests++}` }));
    const { results } = await log.feedback({ events: [{ id: `l${labels}`, label: 1 }] }, '', learn);
    assert.equal(results[0].result, 'recorded');
    labels++;
    const taken = async () => (await log.status()).spooled >= 501 * labels;
    await until('what was handed over is in the spool', taken);
    const status = await log.status();
    assert.deepEqual(left(status), [0, 0], JSON.stringify(status));
    assert.equal(status.feedback, labels, 'feedback of threads before counts');
    for (let i = 0; i < 500; i++) tap.finished(finishedRequest({ id: `r${requests++}` }));
    // As an error that nobody catches would end it, wherever it is.
    const { worker } = log as unknown as { worker: Worker | undefined };
    await worker?.terminate();
    const away = await log.feedback({ events: [{ id: 'away', label: 1 }] }, '', learn);
    assert.equal(away.results[0].result, 'notKept');
    await assert.rejects(log.feedbackOfTopic([{ id: 'away', label: 1 }], [{ id: 'away', result: 'unknown' }]), {
      code: 'unavailable',
    });
    await until('the log thread runs again', () =>
      log.status().then(
        () => true,
        () => false,
      ),
    );
    const after = await log.status();
    assert.deepEqual(left(after), [0, 0], JSON.stringify(after));
  }
  await until('the sink has everything', async () => (await log.status()).sinks[0].backlog === 0);
  const end = await log.status();
  assert.deepEqual(left(end), [0, 0], JSON.stringify(end));
  assert.equal(end.served, requests);
  assert.ok(end.spooled >= 4 * 501, `${end.spooled} in the spool`);
});
