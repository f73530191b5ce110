import {
  brokerAway,
  brokerRestarted,
  brokerSlow,
  diskFull,
  type FaultFigures,
  killedAtRandom,
  rebalanced,
} from '../../src/testing/log-faults.ts';
import type { Comparison, Scenario } from '../scenario.ts';
import { bootstrapMedian, median } from '../statistics.ts';

const KILLS = 200;
const AWAY_MS = 300_000;
const SLOW_MS = 60_000;
const FULL_MS = 20_000;
const CALM_MS = 20_000;

/** Faults of the event log, in the words of the issue. The services are those of .ci/services. */
export const logFaults: Scenario = {
  name: 'log-faults',
  description: `The event log: its broker away for 5 minutes, restarted, rebalanced, slowed; killed ${KILLS} times; its disk full`,
  async run({ quick, say }) {
    const { SWITCHYARD_TEST_KAFKA_URL: broker, SWITCHYARD_TEST_SMALL_DISK: disk, FAULTS: wanted = '' } = process.env;
    if (broker === undefined) throw new Error('SWITCHYARD_TEST_KAFKA_URL is not set; see .ci/services/kafka.sh');
    if (disk === undefined) throw new Error('SWITCHYARD_TEST_SMALL_DISK is not set; see .ci/services/small-disk.sh');
    const kills = quick ? 5 : KILLS;
    const away = quick ? 5000 : AWAY_MS;
    const slow = quick ? 5000 : SLOW_MS;
    const full = quick ? 2000 : FULL_MS;
    const calm = quick ? 2000 : CALM_MS;
    const faults: [string, () => Promise<FaultFigures>][] = [
      [`broker away for ${away / 1000} s`, () => brokerAway(broker, away, calm)],
      ['broker restarted', () => brokerRestarted(broker, calm)],
      ['broker joined, partitions moved to it and back', () => rebalanced(broker, calm)],
      [`broker slow for ${slow / 1000} s`, () => brokerSlow(broker, slow, calm)],
      ['disk of the spool full', () => diskFull(disk, full, calm)],
      [`killed with -9 ${kills} times`, () => killedAtRandom(kills, broker)],
    ];
    const figures: Record<string, FaultFigures> = {};
    const notes: string[] = [];
    const comparisons: Comparison[] = [];
    for (const [name, play] of faults.filter(([each]) => new RegExp(wanted).test(each))) {
      const result = await play();
      figures[name] = result;
      const line = describe(name, result);
      say(`  ${line}`);
      notes.push(line);
      comparisons.push(...moved(name, result));
    }
    const panels = [{ title: 'Faults', counts: 'requests', series: [], comparisons }];
    return { name: 'log-faults', description: logFaults.description, panels, notes, figures };
  },
};

function describe(what: string, f: FaultFigures): string {
  const { calm, fault, draining } = f.p99;
  const ms = (list: readonly number[]): string => (list.length === 0 ? '–' : `${median(list).toFixed(2)} ms`);
  const latency = calm.length === 0 ? '' : `; p99 calm ${ms(calm)}, fault ${ms(fault)}, draining ${ms(draining)}`;
  const sinks = f.sinks.map(({ name, lost, duplicates }) => `${name}: ${lost} lost, ${duplicates} duplicates`);
  return (
    `${what}: ${f.committed} records committed, ${sinks.join('; ')}; ${f.failed} of ${f.requests} requests failed, ` +
    `${f.dropped} records dropped and counted, ${f.unaccounted} unaccounted for${latency}`
  );
}

/** The p99 of each window of the fault beside the median of the calm ones. */
function moved(what: string, { p99: { calm, fault } }: FaultFigures): Comparison[] {
  if (calm.length === 0 || fault.length === 0) return [];
  const level = median(calm);
  const estimate = bootstrapMedian(fault.map((ms) => ms / level));
  return [{ text: `p99 of requests, ${what}, to calm`, estimate, unit: '×' }];
}
