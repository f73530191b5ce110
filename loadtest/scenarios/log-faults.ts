import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
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
/** Of a broker that is started for a run: nobody else's. */
const PORT = '19492';
const AWAY_MS = 300_000;
const SLOW_MS = 60_000;
const FULL_MS = 20_000;
const CALM_MS = 20_000;

/** Faults of the event log, in the words of the issue. The services are those of .ci/services. */
export const logFaults: Scenario = {
  name: 'log-faults',
  description: `The event log: its broker away for 5 minutes, restarted, rebalanced, slowed; killed ${KILLS} times; its disk full`,
  async run({ quick, say }) {
    const { FAULTS: wanted = '' } = process.env;
    const started: Service[] = [];
    try {
      const broker = serviceAt('SWITCHYARD_TEST_KAFKA_URL', started, 'services/kafka.sh', PORT);
      const disk = serviceAt('SWITCHYARD_TEST_SMALL_DISK', started, 'services/small-disk.sh');
      // With which what arrived is read; it is kept, and costs the first run a minute.
      process.env.SWITCHYARD_TEST_KAFKA_PYTHON ??= run('clients/kafka/setup.sh').split('\n').at(-1);
      return await play(broker, disk, new RegExp(wanted), quick, say);
    } finally {
      for (const { script, place } of started.reverse()) run(script, 'stop', place);
    }
  },
};

/** One that this run started, and stops: what its `stop` is told. */
interface Service {
  script: string;
  place: string;
}

/** Where a service is: as the variable says, or started for this run. Throws what its script says. */
function serviceAt(variable: string, started: Service[], script: string, port?: string): string {
  const given = process.env[variable];
  if (given !== undefined && given !== '') return given;
  const place = run(script, 'start', ...(port === undefined ? [] : [port]));
  started.push({ script, place: port ?? place });
  return place;
}

function run(script: string, ...words: string[]): string {
  const path = fileURLToPath(new URL(`../../.ci/${script}`, import.meta.url));
  return execFileSync(path, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}

async function play(
  broker: string,
  disk: string,
  wanted: RegExp,
  quick: boolean,
  say: (line: string) => void,
): Promise<Awaited<ReturnType<Scenario['run']>>> {
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
  for (const [name, fault] of faults.filter(([each]) => wanted.test(each))) {
    const result = await fault();
    figures[name] = result;
    const line = describe(name, result);
    say(`  ${line}`);
    notes.push(line);
    comparisons.push(...moved(name, result));
  }
  const panels = [{ title: 'Faults', counts: 'requests', series: [], comparisons }];
  return { name: 'log-faults', description: logFaults.description, panels, notes, figures };
}

function describe(what: string, f: FaultFigures): string {
  const { calm, fault, draining } = f.p99;
  const ms = (list: readonly number[]): string => (list.length === 0 ? '–' : `${median(list).toFixed(2)} ms`);
  const latency = calm.length === 0 ? '' : `; p99 calm ${ms(calm)}, fault ${ms(fault)}, draining ${ms(draining)}`;
  const { drain } = f;
  const drained =
    drain === null
      ? ''
      : `; ${drain.records} records of the backlog sent in ${drain.seconds.toFixed(1)} s, ${Math.round(drain.perSecond)} a second`;
  const sinks = f.sinks.map(({ name, lost, duplicates }) => `${name}: ${lost} lost, ${duplicates} duplicates`);
  return (
    `${what}: ${f.committed} records committed, ${sinks.join('; ')}; ${f.failed} of ${f.requests} requests failed, ` +
    `${f.dropped} records dropped and counted, ${f.unaccounted} unaccounted for${latency}${drained}`
  );
}

/** The p99 of each window of the fault, and of the backlog's sending, beside the median of the calm ones. */
function moved(what: string, { p99: { calm, fault, draining } }: FaultFigures): Comparison[] {
  if (calm.length === 0) return [];
  const level = median(calm);
  const beside = (text: string, list: readonly number[]): Comparison[] =>
    list.length === 0 ? [] : [{ text, estimate: bootstrapMedian(list.map((ms) => ms / level)), unit: '×' }];
  return [
    ...beside(`p99 of requests, ${what}, to calm`, fault),
    ...beside(`p99 of requests while the backlog is sent, ${what}, to calm`, draining),
  ];
}
