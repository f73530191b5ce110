import { brokerAway, diskFull, type FaultFigures, killedAtRandom } from '../../src/testing/log-faults.ts';
import type { Scenario } from '../scenario.ts';

const KILLS = 200;
const AWAY_MS = 300_000;

/** Faults of the event log, in the words of the issue. The services are those of .ci/services. */
export const logFaults: Scenario = {
  name: 'log-faults',
  description: `The event log: killed ${KILLS} times, its broker away for 5 minutes, its disk full`,
  async run({ quick, say }) {
    const { SWITCHYARD_TEST_KAFKA_URL: broker, SWITCHYARD_TEST_SMALL_DISK: disk } = process.env;
    const notes: string[] = [];
    const tell = (what: string, figures: FaultFigures): void => {
      const line = describe(what, figures);
      say(`  ${line}`);
      notes.push(line);
    };
    const kills = quick ? 5 : KILLS;
    tell(`killed with -9 ${kills} times, to files`, await killedAtRandom(kills, undefined));
    if (broker === undefined) say('  SWITCHYARD_TEST_KAFKA_URL is not set: nothing is sent to Kafka');
    else {
      tell(`killed with -9 ${kills} times, to Kafka`, await killedAtRandom(kills, broker));
      const away = quick ? 5000 : AWAY_MS;
      tell(`broker away for ${away / 1000} s`, await brokerAway(broker, away));
    }
    if (disk === undefined) say('  SWITCHYARD_TEST_SMALL_DISK is not set: no disk fills up');
    else tell('disk of the spool full', await diskFull(disk));
    return { name: 'log-faults', description: logFaults.description, panels: [], notes };
  },
};

function describe(what: string, f: FaultFigures): string {
  const latency =
    f.p99During > 0 ? `, p99 ${f.p99Before.toFixed(1)} ms before and ${f.p99During.toFixed(1)} ms during` : '';
  return (
    `${what}: ${f.lost} of ${f.committed} committed records lost, ${f.duplicates} duplicates, ` +
    `${f.failed} of ${f.requests} requests failed, ${f.dropped} records dropped and counted${latency}`
  );
}
