import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ServerProcess } from './server-process.ts';

const CLIENTS = 4;
const BODY = JSON.stringify({ inputs: [{ name: 'x', shape: [1, 1], datatype: 'FP32', data: [1] }] });
/** Latencies are looked at in windows of this length: one hiccup of the machine spoils one of them. */
const WINDOW_MS = 5000;

/** Requests for the model `scale` from several clients until `stop`: so many a second, or each after the other's answer. */
export class LogLoad {
  requests = 0;
  failed = 0;
  private readonly latencies: { at: number; ms: number }[] = [];
  private running = true;
  private readonly agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  private readonly server: ServerProcess;
  private readonly clients: Promise<void>[];

  constructor(server: ServerProcess, perSecond = Number.POSITIVE_INFINITY) {
    this.server = server;
    const begun = performance.now();
    this.clients = Array.from({ length: CLIENTS }, async (_, client) => {
      for (let i = 0; this.running; i++) {
        const wait = begun + ((i * CLIENTS + client) / perSecond) * 1000 - performance.now();
        if (wait > 1) await sleep(wait);
        if (!this.running) return;
        const sent = performance.now();
        const status = await this.ask();
        // The moment the server is killed fails what is on its way.
        if (!this.running) return;
        this.requests++;
        if (status !== 200) this.failed++;
        else this.latencies.push({ at: sent, ms: performance.now() - sent });
      }
    });
  }

  /** Of each whole window since the last call, or of all of it where there is none, in milliseconds. */
  p99s(): number[] {
    const all = this.latencies.splice(0);
    if (all.length === 0) return [];
    const windows = new Map<number, number[]>();
    for (const { at, ms } of all) {
      const window = Math.floor((at - all[0].at) / WINDOW_MS);
      const list = windows.get(window);
      if (list === undefined) windows.set(window, [ms]);
      else list.push(ms);
    }
    const whole = [...windows.values()].slice(0, Math.max(1, windows.size - 1));
    return whole.map((list) => list.sort((a, b) => a - b)[Math.floor(list.length * 0.99)]);
  }

  async stop(): Promise<void> {
    this.running = false;
    await Promise.all(this.clients);
    this.agent.destroy();
  }

  /** The answer's status; 0: there was none. */
  private ask(): Promise<number> {
    return new Promise((resolve) => {
      const asked = request(
        this.server.url('/v2/models/scale/infer'),
        { method: 'POST', agent: this.agent, headers: { 'Content-Length': Buffer.byteLength(BODY) } },
        (answer) => {
          answer.resume();
          answer.once('end', () => resolve(answer.statusCode ?? 0));
          answer.once('error', () => resolve(0));
          answer.once('close', () => resolve(0));
        },
      );
      asked.once('error', () => resolve(0));
      asked.end(BODY);
    });
  }
}
