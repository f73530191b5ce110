import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { measured } from '../contestant.ts';
import type { GeneratorResult } from '../generators/measurement.ts';
import { treeMemoryBytes } from '../process-cpu.ts';
import { roundOrder, type Series } from '../rounds.ts';
import { type Panel, ratioOf, type Scenario, type Settings } from '../scenario.ts';
import { type RegistryServer, startMlflow, startSwitchyard } from '../targets/registries.ts';

const MIB = 1024 * 1024;
const PEER = 'mlflow 3.17.2';

/** One PUT of `mebibytes`, of bytes that no upload had before: equal ones would be stored once. Counts mebibytes. */
function upload(port: number, path: string, mebibytes: number): Promise<GeneratorResult> {
  const chunk = randomBytes(MIB);
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        ...{ host: '127.0.0.1', port, method: 'PUT', path: `/api/2.0/mlflow-artifacts/artifacts/${path}` },
        headers: { 'content-length': mebibytes * MIB, 'content-type': 'application/octet-stream' },
      },
      (response) => {
        response.resume();
        response.on('error', reject);
        response.on('end', () => {
          const ms = performance.now() - begun;
          if (response.statusCode !== 200) {
            reject(new Error(`the upload was answered ${response.statusCode}`));
            return;
          }
          resolve({
            ...{ requests: mebibytes, succeeded: mebibytes, seconds: ms / 1000, statuses: { 200: 1 }, errors: 0 },
            latency: { p50: ms, p90: ms, p99: ms, p999: ms, max: ms },
            generatorThreads: 1,
          });
        });
      },
    );
    request.on('error', reject);
    let sent = 0;
    const send = (): void => {
      while (sent < mebibytes) {
        chunk.writeUInt32LE(sent, 0);
        sent++;
        // Copied: the chunk changes before the socket has taken it.
        if (request.write(Buffer.from(chunk))) continue;
        request.once('drain', send);
        return;
      }
      request.end();
    };
    send();
  });
}

/** The most memory a server's processes have together while `run` lasts. */
async function peakMemory<T>(pid: number, run: () => Promise<T>): Promise<{ value: T; bytes: number }> {
  let bytes = treeMemoryBytes(pid);
  const timer = setInterval(() => {
    bytes = Math.max(bytes, treeMemoryBytes(pid));
  }, 100);
  try {
    return { value: await run(), bytes };
  } finally {
    clearInterval(timer);
  }
}

async function panel(settings: Settings, folder: string, notes: string[]): Promise<Panel> {
  const mebibytes = settings.quick ? 64 : 1024;
  settings.say('registry-uploads');
  const servers: RegistryServer[] = [];
  const series: Series[] = [];
  try {
    servers.push(await startSwitchyard(join(folder, 'switchyard')));
    if (settings.peers.length > 0) {
      await startMlflow(join(folder, 'mlflow')).then(
        (server) => servers.push(server),
        (error: Error) => notes.push(`mlflow left out: ${error.message}`),
      );
    }
    for (const { name, role } of servers) series.push({ name, role, rounds: [] });
    const memory = servers.map(() => ({ before: 0, peak: 0 }));
    for (const [i, { server, port }] of servers.entries()) {
      await upload(port, '0/uploads/artifacts/warm', 16);
      memory[i].before = treeMemoryBytes(server.pid);
    }
    for (let round = 0; round < settings.rounds; round++) {
      for (const i of roundOrder(servers.length, round)) {
        const { name, server, port } = servers[i];
        const run = () => upload(port, '0/uploads/artifacts/model.bin', mebibytes);
        const { value, bytes } = await peakMemory(server.pid, () => measured(server, run));
        memory[i].peak = Math.max(memory[i].peak, bytes);
        series[i].rounds.push(value);
        settings.say(
          `  round ${round + 1}/${settings.rounds}  ${name.padEnd(18)} ${value.seconds.toFixed(2).padStart(7)} s  server CPU ${value.serverCpuSeconds.toFixed(2)} s`,
        );
      }
    }
    for (const [i, { name }] of servers.entries()) {
      const mib = (bytes: number): string => `${Math.round(bytes / MIB)} MiB`;
      notes.push(`Memory of ${name} before ${mib(memory[i].before)}, at most ${mib(memory[i].peak)}.`);
    }
  } finally {
    for (const { server } of servers) await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  return {
    title: `one upload of ${mebibytes} MiB`,
    counts: 'MiB',
    series,
    comparisons: ratioOf(series, 'switchyard', PEER, `of ${PEER}`, { atLeast: 3 }),
  };
}

export const registryUploads: Scenario = {
  name: 'registry-uploads',
  description:
    "Artifacts uploaded by MLflow's PUT, beside MLflow's own server. Switchyard hashes them and answers when they are on the disk; MLflow answers when the system has them.",
  async run(settings) {
    const notes: string[] = [];
    const panels = [await panel(settings, join(settings.scratch, 'uploads'), notes)];
    notes.push('Rates are MiB per second.');
    return { name: this.name, description: this.description, panels, notes };
  },
};
