/**
 * The figures of training jobs, on the built program: node --import tsx loadtest/training/main.ts [results folder]
 *
 * - start: what a job with a cached environment adds to the bare command, from its submission to the first word of the
 *   command, and to its end. The bare command is the interpreter of the same environment, started directly; the two take turns.
 * - api: how long the admin API takes while 1,000 jobs are queued and 50 run, which print a metric twice a second, and what
 *   the server uses of the processors meanwhile.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type JobRow, JobsApi } from '../../src/client/jobs.ts';
import { ServerProcess } from '../../src/testing/server-process.ts';
import { scriptJob } from '../../src/testing/training.ts';
import { describeMachine } from '../machine.ts';
import { parseStat } from '../process-cpu.ts';

const STARTS = Number(process.env.STARTS ?? 40);
const QUEUED = 1000;
const RUNNING = 50;
const API_SECONDS = 60;

interface Spread {
  p50: number;
  p90: number;
  p99: number;
  max: number;
  count: number;
}

function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (q: number): number =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] * 10) / 10;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1), count: sorted.length };
}

/** Prints the time of its first word, in milliseconds since 1970. */
const SCRIPT = 'import time; print("begun", time.time() * 1000, flush=True)';

async function begunAt(api: JobsApi, id: string): Promise<number> {
  return Number(/begun (\d+\.\d+)/.exec(await api.logs(id, undefined))?.[1]);
}

async function ended(api: JobsApi, id: string): Promise<JobRow> {
  for (;;) {
    const job = await api.get(id);
    if (job.ended_at !== null) return job;
    await sleep(20);
  }
}

async function starts(api: JobsApi): Promise<object> {
  const command = { command: ['python', '-c', SCRIPT], files: {}, environment: { requirements: '' } };
  // Builds the environment.
  const first = await ended(api, (await api.submit(scriptJob('', command), '')).id);
  if (first.status !== 'succeeded') throw new Error(`the first job ${first.status}: ${first.reason}`);
  // The interpreter itself: what PATH has may be a script that looks for it.
  const python = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
  const bare: number[] = [];
  const job: number[] = [];
  const whole: number[] = [];
  for (let i = 0; i < STARTS; i++) {
    const directly = Date.now();
    const text = execFileSync(python, ['-c', SCRIPT], { encoding: 'utf8' });
    bare.push(Number(text.split(' ')[1]) - directly);
    const submitted = Date.now();
    const { id } = await api.submit(scriptJob('', command), '');
    const end = await ended(api, id);
    job.push((await begunAt(api, id)) - submitted);
    whole.push((end.ended_at as number) - submitted);
    await sleep(100);
  }
  const added = job.map((ms, i) => ms - bare[i]);
  return {
    bare_ms: spread(bare),
    job_to_first_word_ms: spread(job),
    added_ms: spread(added),
    job_to_end_ms: spread(whole),
  };
}

/** What all threads of a process have used of the processors, in milliseconds. */
function cpuMs(pid: number): number {
  const { cpuSeconds, childSeconds } = parseStat(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  return (cpuSeconds - childSeconds) * 1000;
}

async function api(url: string, client: JobsApi, pid: number): Promise<object> {
  const running = scriptJob('while :; do echo "loss=0.5 step=1"; sleep 0.5; done', { resources: { cpu: 0.01 } });
  const ids: string[] = [];
  for (let i = 0; i < RUNNING + QUEUED; i++) ids.push((await client.submit(running, '')).id);
  for (;;) {
    const { jobs } = await client.list({ status: 'running', limit: 1000 });
    if (jobs.length === RUNNING) break;
    await sleep(500);
  }
  const calls: Record<string, () => Promise<unknown>> = {
    get: () => client.get(ids[Math.floor(Math.random() * ids.length)]),
    list: () => client.list({ limit: 100 }),
    'list queued': () => client.list({ status: 'queued', limit: 100 }),
    logs: () => client.logs(ids[0], undefined),
    submit: async () => ids.push((await client.submit(running, '')).id),
    cancel: () => client.command(ids.pop() as string, 'cancel', ''),
    models: async () => (await fetch(`${url}/api/v1/models`)).text(),
  };
  const times: Record<string, number[]> = {};
  const used = cpuMs(pid);
  const began = performance.now();
  const until = performance.now() + API_SECONDS * 1000;
  while (performance.now() < until) {
    for (const [name, call] of Object.entries(calls)) {
      const begun = performance.now();
      await call();
      times[name] ??= [];
      times[name].push(performance.now() - begun);
      await sleep(5);
    }
  }
  const seconds = (performance.now() - began) / 1000;
  const server = { cpu_ms_per_s: Math.round((cpuMs(pid) - used) / seconds), seconds: Math.round(seconds) };
  for (const id of ids) await client.command(id, 'cancel', 'over');
  for (const id of ids.slice(0, RUNNING)) await ended(client, id);
  return { ...Object.fromEntries(Object.entries(times).map(([name, values]) => [name, spread(values)])), server };
}

const server = await ServerProcess.start(['--config', join(import.meta.dirname, 'switchyard.yaml')]);
try {
  const url = `http://127.0.0.1:${server.ports.admin}`;
  const client = new JobsApi({ url });
  const result = {
    machine: describeMachine(),
    load_before: loadavg(),
    start: await starts(client),
    api_with_1000_queued_and_50_running_ms: await api(url, client, server.servingPid()),
    load_after: loadavg(),
  };
  const text = `${JSON.stringify(result, undefined, 2)}\n`;
  process.stdout.write(text);
  const [folder] = process.argv.slice(2);
  if (folder !== undefined) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'training.json'), text);
  }
} finally {
  await server.stop();
}
