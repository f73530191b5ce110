import { join } from 'node:path';
import { type Contestant, type Drive, ServerContestant, SharedServer } from '../contestant.ts';
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

export const latency: Scenario = {
  name: 'latency',
  description:
    "Open loop at half of Switchyard's own peak, each latency counted from when its request was due: what Switchyard adds to bare uWebSockets.js at the same rate.",
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
      const contestants: Contestant[] = [subject, limit].map(
        (shared) => new ServerContestant(shared, wire, drive, settings.timing),
      );
      const { series } = await playRounds(contestants, settings.rounds, settings.say);
      panels.push({
        title: `${wire}, ${requestsPerSecond.toLocaleString('en')} requests/s`,
        counts: 'requests',
        series,
        comparisons: [
          ...added(series, (m) => m.latency.p50, 'added to the p50 of bare uWebSockets.js', 0.08),
          ...added(series, (m) => m.latency.p99, 'added to the p99 of bare uWebSockets.js', 0.4),
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

/** Median over rounds of the difference within a round. */
function added(series: readonly Series[], metric: Metric, text: string, atMost: number): Comparison[] {
  const subject = find(series, 'switchyard');
  const limit = find(series, 'bare-uws');
  if (subject === undefined || limit === undefined) return [];
  const differences = subject.rounds.map((m, i) => metric(m) - metric(limit.rounds[i]));
  return [{ text, estimate: bootstrapMedian(differences), unit: 'ms', goal: { atMost } }];
}
