import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { renderLineage } from '../../src/cli/monitors-view.ts';
import { MonitorsApi } from '../../src/client/monitors.ts';
import { type PipelineRun, PipelinesApi } from '../../src/client/pipelines.ts';
import { ServerProcess } from '../../src/testing/server-process.ts';
import { type Digit, DigitStream } from './digits-stream.ts';
import { type Moment, type Point, timeline, timelineText } from './timeline.ts';

/**
 * `npm run demo:drift [-- --kafka host:port] [-- --keep]`: the digits model serves, and from one moment on users send
 * digits in negative. Nobody helps: the monitor notices, a job retrains on what was labelled since, the gate lets it pass,
 * a canary promotes it, and accuracy recovers. With --kafka, records and labels go over a broker and the monitor reads
 * them there. Ends with 0 if all of it came true. --keep writes the figures to loadtest/results/drift.
 */
const CONFIG = fileURLToPath(new URL('../../config', import.meta.url));
const RESULTS = fileURLToPath(new URL('../results/drift', import.meta.url));
const TIMEOUT_MS = 600_000;
const POLL_MS = 250;
/** Answers that are waited for before and after, so that an accuracy can be told. */
const ENOUGH = 1500;

const at = process.argv.indexOf('--kafka');
const broker = at < 0 ? undefined : process.argv[at + 1];
const began = performance.now();
const deadline = began + TIMEOUT_MS;
const moments: Moment[] = [];

function seconds(): number {
  return (performance.now() - began) / 1000;
}

function mark(what: string): void {
  moments.push({ at: seconds(), what });
  process.stdout.write(`${seconds().toFixed(1).padStart(7)} s  ${what}\n`);
}

function check(holds: boolean, what: string): void {
  process.stdout.write(`${holds ? 'as it should be' : 'NOT as it should be'}: ${what}\n`);
  if (!holds) process.exitCode = 1;
}

/** config/drift.yaml for this run: paths made absolute, and over Kafka with topics of its own. */
function settings(folder: string): string {
  const config = parse(readFileSync(join(CONFIG, 'drift.yaml'), 'utf8')) as Record<string, Record<string, unknown>>;
  for (const part of ['routes', 'pipelines', 'monitoring'])
    config[part].files = (config[part].files as string[]).map((file) => join(CONFIG, file));
  if (broker !== undefined) {
    config.kafka = {
      brokers: [broker],
      topicPrefix: `drift-${process.pid}-${Date.now()}.`,
      clientId: `drift-${process.pid}`,
    } as never;
    config.eventLog.sinks = [{ name: 'kafka', kind: 'kafka' }];
    config.monitoring.source = 'kafka';
  }
  const file = join(folder, 'switchyard.yaml');
  // JSON is YAML.
  writeFileSync(file, JSON.stringify(config, undefined, 2));
  return file;
}

async function until<T>(what: string, look: () => Promise<T | undefined> | T | undefined): Promise<T> {
  while (performance.now() < deadline) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(POLL_MS);
  }
  throw new Error(`${what}: it did not come to that within ${TIMEOUT_MS / 1000} s`);
}

/** A part of the digits, as the split step of the first pipeline left it. */
async function partOf(admin: string, run: PipelineRun, part: string): Promise<Digit[]> {
  const id = run.steps.find(({ name }) => name === 'parts')?.run_id;
  const described = (await (await fetch(`${admin}/api/2.0/mlflow/runs/get?run_id=${id}`)).json()) as {
    run: { info: { artifact_uri: string } };
  };
  const root = described.run.info.artifact_uri.replace(/^mlflow-artifacts:\/+/, '');
  const base = `${admin}/api/2.0/mlflow-artifacts/artifacts`;
  const listed = (await (await fetch(`${base}?path=${encodeURIComponent(`${root}/${part}`)}`)).json()) as {
    files: { path: string }[];
  };
  const text = await (await fetch(`${base}/${root}/${part}/${listed.files[0].path}`)).text();
  const [head, ...lines] = text.trim().split(/\r?\n/);
  const names = head.split(',');
  const pixels = Array.from({ length: 64 }, (_, i) => names.indexOf(`p${i}`));
  const label = names.indexOf('label');
  return lines.map((line, i) => {
    const cells = line.split(',');
    return { name: `${part}-${i}`, pixels: pixels.map((at) => Number(cells[at])), label: Number(cells[label]) };
  });
}

async function play(server: ServerProcess): Promise<void> {
  const admin = `http://127.0.0.1:${server.ports.admin}`;
  const pipelines = new PipelinesApi({ url: admin });
  const monitors = new MonitorsApi({ url: admin });
  mark(`a server runs${broker === undefined ? '' : ', and logs to Kafka'}; the first version is trained`);
  const first = await pipelines.run({ pipeline: 'digits-first' });
  const run = await until('the first version', async () => {
    const now = await pipelines.getRun(first.id);
    if (now.status === 'failed' || now.status === 'held') throw new Error(`the first version: ${now.reason}`);
    return now.status === 'succeeded' ? now : undefined;
  });
  const [stream, later] = await Promise.all([partOf(admin, run, 'stream'), partOf(admin, run, 'later')]);
  mark('version 1 serves; users send digits it has not seen');

  const users = new DigitStream(server.ports.http, stream, began);
  users.start();
  try {
    const start = seconds();
    await until('a reference of version 1', async () => (await monitors.get('digits')).references[0]);
    mark('the reference of version 1 is frozen');
    await until('a quiet window', async () => {
      const windows = await monitors.windows('digits', 20);
      return windows.some(({ kind, state }) => kind === 'drift' && state === 'ok') || undefined;
    });
    await until('enough answers', () => (users.answered >= ENOUGH ? true : undefined));
    const before = users.accuracySince(start + 1);
    check((await monitors.get('digits')).level === 'ok', 'nothing is flagged while nothing changes');

    users.change = (pixels) => pixels.map((pixel) => 16 - pixel);
    mark('from now on users send negatives');
    const shifted = seconds();
    await until('drift is flagged', async () => {
      const { alarms } = await monitors.get('digits');
      return alarms.some(({ signal, level }) => signal === 'drift' && level === 'alert') || undefined;
    });
    const low = users.accuracySince(shifted + 1);
    const { alarms } = await monitors.get('digits');
    mark(`drift is flagged: ${alarms.find(({ signal }) => signal === 'drift')?.reason}`);
    const job = await until('a job retrains', async () => {
      const [row] = await monitors.lineage('digits', 1);
      return row?.steps.find(({ name, job }) => name === 'train' && job !== null)?.job ?? undefined;
    });
    mark(`a job retrains: ${job}`);
    const gated = await until('the gate passes', async () => {
      const [row] = await monitors.lineage('digits', 1);
      if (row?.status === 'failed') throw new Error(`the retraining failed: ${row.outcome}`);
      return row?.version === '' ? undefined : row;
    });
    mark(`the gate passes: version ${gated?.version}; its canary begins`);
    const promoted = await until('the canary promotes', async () => {
      const [row] = await monitors.lineage('digits', 1);
      if (row?.status === 'notPromoted') throw new Error(`the canary did not promote: ${row.outcome}`);
      return row?.status === 'promoted' ? row : undefined;
    });
    mark(`the canary promotes version ${promoted.version}: it is the champion`);

    // Digits that no version was trained on, in negative too.
    users.digits = later;
    const recovered = seconds();
    const answers = users.answered;
    await until('enough answers', () => (users.answered >= answers + ENOUGH ? true : undefined));
    const after = users.accuracySince(recovered + 1);
    mark('accuracy has recovered');
    await until('the alarms of version 1 are over', async () => {
      const { alarms, references } = await monitors.get('digits');
      const fresh = references.some(({ version }) => version === promoted.version);
      return (
        (fresh && alarms.every(({ version, level }) => version === promoted.version && level !== 'alert')) || undefined
      );
    });
    const [row] = await monitors.lineage('digits', 1);
    const { points, marks } = sinceServed(users);
    process.stdout.write(`\n${timelineText(points, marks)}\n\n${renderLineage([row])}\n\n`);
    const figure = (value: number): string => value.toFixed(3);
    check(before.accuracy > 0.9, `accuracy before: ${figure(before.accuracy)} of ${before.answers}`);
    check(low.accuracy < 0.6, `accuracy while it drifted: ${figure(low.accuracy)} of ${low.answers}`);
    check(
      after.accuracy > 0.8 && after.accuracy > low.accuracy + 0.25,
      `accuracy after, on digits that no version was trained on: ${figure(after.accuracy)} of ${after.answers}`,
    );
    check(users.failed === 0, `${users.answered} requests were answered, ${users.failed} failed`);
    check(row.windows.length >= 2 && row.promotion !== null, 'windows, job, version and promotion are one lineage');
    check(row.promotion?.actor === 'rollout', 'the promotion is the canary’s');
    if (process.argv.includes('--keep')) keep(users, { before, low, after });
  } finally {
    await users.stop();
  }
}

/** Time begins when version 1 serves: what building it took is not what is shown. */
function sinceServed(users: DigitStream): { points: Point[]; marks: Moment[] } {
  const start = moments[1].at;
  return {
    points: users.points().map(({ at, value }) => ({ at: Math.max(0, at - start), value })),
    marks: moments.slice(1).map(({ at, what }) => ({ at: at - start, what })),
  };
}

function keep(users: DigitStream, figures: object): void {
  mkdirSync(RESULTS, { recursive: true });
  const name = `${new Date().toISOString().slice(0, 10)}-${broker === undefined ? 'embedded' : 'kafka'}`;
  const { points, marks } = sinceServed(users);
  const title = `Digits that turn negative, ${broker === undefined ? 'embedded log' : 'over Kafka'}`;
  writeFileSync(join(RESULTS, `${name}.svg`), timeline(title, 'accuracy by second', points, marks));
  writeFileSync(
    join(RESULTS, `${name}.json`),
    `${JSON.stringify({ figures, moments: marks, points }, undefined, 1)}\n`,
  );
}

/**
 * Where a cache is named, as in CI, the virtual environment is built once for both ways to play it: the server's data lies
 * there, and all of it but environments is new each time.
 */
function dataDirOf(folder: string): string {
  const cache = process.env.SWITCHYARD_CACHE;
  if (cache === undefined) return join(folder, 'data');
  const dataDir = join(cache, 'demo-drift');
  forgetAllBut(dataDir, 'training');
  forgetAllBut(join(dataDir, 'training'), 'environments');
  return dataDir;
}

function forgetAllBut(folder: string, kept: string): void {
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(folder))
    if (name !== kept) rmSync(join(folder, name), { recursive: true, force: true });
}

const folder = mkdtempSync(join(tmpdir(), 'switchyard-drift-'));
const server = await ServerProcess.start(['--config', settings(folder)], { dataDir: dataDirOf(folder) });
try {
  await play(server);
} catch (error) {
  check(false, (error as Error).message);
  for (const line of server.log.slice(-30)) process.stdout.write(`${JSON.stringify(line)}\n`);
} finally {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
