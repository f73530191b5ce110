import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { PipelinesUnderTest } from '../../src/testing/pipelines.ts';

/**
 * `node --import tsx loadtest/demo/skipped-steps.ts [result.json]`: what a skipped step of a pipeline costs, from its turn to its row
 * in the database: reading its inputs' digests, the look-up, its run with the outputs named again. A pipeline of 20 steps
 * over a dataset of 2 MB runs once, then ten times with nothing changed, one step at a time.
 */
const STEPS = 20;
const ROUNDS = 10;
const ROWS = 20_000;

const under = await PipelinesUnderTest.open();
const row = (i: number): string => `${i},${Math.sin(i)},${Math.cos(i)},${i % 7},text of row ${i}\n`;
const rows = Array.from({ length: ROWS }, (_, i) => row(i));
writeFileSync(join(under.folder, 'data.csv'), `id,a,b,c,d\n${rows.join('')}`);
const steps = [
  { name: 'data', ingest: { source: 'data.csv' } },
  ...Array.from({ length: STEPS - 1 }, (_, i) => ({
    name: `s${i}`,
    split: { data: 'data', parts: { a: 0.5, b: 0.5 }, seed: i, key: 'id' },
    needs: i === 0 ? [] : [`s${i - 1}`],
  })),
];
const document = {
  apiVersion: 'switchyard/v1',
  kind: 'Pipeline',
  metadata: { name: 'skipped' },
  spec: { steps, maxParallel: 1 },
};
const first = await under.over((await under.run(document)).id);
if (first.status !== 'succeeded') throw new Error(first.reason);
const times: number[] = [];
const cpuBefore = process.cpuUsage();
for (let round = 0; round < ROUNDS; round++) {
  const begun = performance.now();
  const run = await under.over((await under.run(document)).id);
  const whole = performance.now() - begun;
  const own = run.steps.map(({ status, started_at, ended_at }) => {
    if (status !== 'skipped') throw new Error(`a step was ${status}`);
    return (ended_at as number) - (started_at as number);
  });
  times.push(...own);
  process.stdout.write(`round ${round + 1}: ${(whole / STEPS).toFixed(1)} ms a step with everything around it\n`);
}
const cpu = process.cpuUsage(cpuBefore);
await under.close();
times.sort((a, b) => a - b);
const quantile = (q: number): number => times[Math.min(times.length - 1, Math.floor(q * times.length))];
const result = {
  what: 'milliseconds of a skipped step, SQLite',
  at: new Date().toISOString(),
  node: process.version,
  cpu: `${cpus().length} × ${cpus()[0]?.model.trim()}`,
  loadAverage: loadavg()[0],
  steps: times.length,
  /** Of this process, with everything around the steps. */
  cpuPerStep: (cpu.user + cpu.system) / 1000 / times.length,
  p50: quantile(0.5),
  p90: quantile(0.9),
  p99: quantile(0.99),
  max: times[times.length - 1],
  times,
};
const { times: _, ...shown } = result;
process.stdout.write(`${JSON.stringify(shown)}\n`);
const file = process.argv[2];
if (file !== undefined) {
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, `${JSON.stringify(result)}\n`);
}
