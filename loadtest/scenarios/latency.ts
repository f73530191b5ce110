import { join } from 'node:path';
import { type Drive, InProcessOpenContestant, ServerContestant, SharedServer } from '../contestant.ts';
import { throughput } from '../generators/measurement.ts';
import { oha } from '../generators/oha.ts';
import { wrk } from '../generators/wrk.ts';
import { SMALL_MLP } from '../mlp-model.ts';
import { playRounds, type Series } from '../rounds.ts';
import { type Comparison, find, type Metric, makeWorkload, type Panel, type Scenario } from '../scenario.ts';
import { bootstrapMedian } from '../statistics.ts';
import { bareUws } from '../targets/limits.ts';
import { switchyard } from '../targets/switchyard.ts';

const CONNECTIONS = 64;
const p50: Metric = (m) => m.latency.p50;
const p99: Metric = (m) => m.latency.p99;

export const latency: Scenario = {
  name: 'latency',
  description:
    "Open loop at half of Switchyard's own peak, each latency counted from when its request was due: what Switchyard adds to in-process inference of requests due at the same rate, and to constant answers of bare uWebSockets.js, which have the socket and the load generator too.",
  async run(settings) {
    const panels: Panel[] = [];
    for (const wire of ['json', 'binary'] as const) {
      settings.say(`latency, ${wire}`);
      const workload = await makeWorkload(join(settings.scratch, `latency-${wire}`), SMALL_MLP, 64);
      const subject = new SharedServer(switchyard(), workload);
      const limit = new SharedServer(bareUws(wire), workload);
      const request = switchyard().request(wire, workload);
      const requestsPerSecond = Math.round((await peakOf(subject, wire)) / 2);
      const drive: Drive = (running, _probed, seconds) =>
        oha(running.ports.http, request, { connections: CONNECTIONS, seconds, requestsPerSecond }, workload.scratch);
      const servers = [subject, limit].map((shared) => new ServerContestant(shared, wire, drive, settings.timing));
      const inProcess = new InProcessOpenContestant(workload, settings.timing, requestsPerSecond);
      const { series } = await playRounds([...servers, inProcess], settings.rounds, settings.say);
      const added = (metric: Metric, reference: string, text: string, goal?: Comparison['goal']): Comparison[] =>
        difference(series, metric, reference, `added to the ${text}`, goal);
      panels.push({
        title: `${wire}, ${requestsPerSecond.toLocaleString('en')} requests/s`,
        counts: 'requests',
        series,
        comparisons: [
          ...added(p50, inProcess.name, 'p50 of in-process inference', { atMost: 0.08 }),
          ...added(p99, inProcess.name, 'p99 of in-process inference', { atMost: 0.4 }),
          ...added(p50, limit.target.name, 'p50 of bare uWebSockets.js'),
          ...added(p99, limit.target.name, 'p99 of bare uWebSockets.js'),
        ],
      });
    }
    return { name: this.name, description: this.description, panels, notes: [] };
  },
};

/** Closed-loop throughput of a started server; it is left running. */
async function peakOf(shared: SharedServer, wire: 'json' | 'binary'): Promise<number> {
  try {
    await shared.open(wire);
    const { server } = await shared.enter(wire);
    const request = shared.target.request(wire, shared.workload);
    return throughput(
      await wrk(server.ports.http, request, { connections: CONNECTIONS, seconds: 3 }, shared.workload.scratch),
    );
  } catch (error) {
    await shared.close();
    throw error;
  }
}

/** Median over rounds of what Switchyard's metric is above the reference's within a round. */
function difference(
  series: readonly Series[],
  metric: Metric,
  reference: string,
  text: string,
  goal?: Comparison['goal'],
): Comparison[] {
  const subject = find(series, 'switchyard');
  const other = find(series, reference);
  if (subject === undefined || other === undefined) return [];
  const differences = subject.rounds.map((m, i) => metric(m) - metric(other.rounds[i]));
  return [{ text, estimate: bootstrapMedian(differences), unit: 'ms', goal }];
}
