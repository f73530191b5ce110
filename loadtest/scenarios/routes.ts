import { join } from 'node:path';
import { ServerContestant, SharedServer } from '../contestant.ts';
import { cpuMicrosPerRequest } from '../generators/measurement.ts';
import { SMALL_MLP } from '../mlp-model.ts';
import { playRounds } from '../rounds.ts';
import { manyRoutes } from '../routing/decide-cost.ts';
import { makeWorkload, ratioOf, type Scenario } from '../scenario.ts';
import { switchyard } from '../targets/switchyard.ts';
import { driveHttp } from './front-ends.ts';

const COUNT = 1000;
const CONNECTIONS = 64;
/** They stick to all variants, and are more than any table of known values holds. */
const USERS = 1000;
/** So many rounds for each that was asked for, of so many parts of its time: between short ones the machine changes less. */
const ROUNDS_EACH = 3;
const [NONE, MANY] = ['no routes', '1,000 routes'];

export const routes: Scenario = {
  name: 'routes',
  description: `Closed loop, ${CONNECTIONS} connections, ${USERS} users in turn, JSON: the same model without routes, and behind one of ${COUNT} routes of eight variants with a sticky unit, a regular expression, an override, outlier ejection and a circuit breaker.`,
  async run(settings) {
    settings.say('routes');
    const workload = await makeWorkload(join(settings.scratch, 'routes'), SMALL_MLP, 64);
    const headers = { 'x-user-id': 'user-0', 'x-region': 'eu-west' };
    const targets = [
      switchyard({ name: 'without-routes', headers }),
      switchyard({ name: 'with-routes', headers, routes: manyRoutes(COUNT, workload.model) }),
    ];
    const { path } = targets[0].request('json', workload);
    const paths = Array.from({ length: USERS }, (_, i) => `${path}\tx-user-id: user-${(i + 1) * 2654435761}`);
    const seconds = Math.ceil(settings.timing.seconds / ROUNDS_EACH);
    const timing = { ...settings.timing, seconds, warmupSeconds: 1 };
    const contestants = targets.map(
      (target, i) =>
        new ServerContestant(
          new SharedServer(target, workload),
          'json',
          driveHttp(target, workload, 'json', CONNECTIONS, paths),
          timing,
          [NONE, MANY][i],
        ),
    );
    const { series } = await playRounds(contestants, settings.rounds * ROUNDS_EACH, settings.say);
    const comparisons = [
      // First what is least noisy.
      ...ratioOf(
        series,
        MANY,
        NONE,
        "of the server's CPU time a request without routes",
        { atMost: 1.05 },
        cpuMicrosPerRequest,
      ),
      ...ratioOf(series, MANY, NONE, 'of the throughput without routes', { atLeast: 0.95 }),
    ];
    return {
      name: this.name,
      description: this.description,
      panels: [{ title: `${CONNECTIONS} connections`, counts: 'requests', series, comparisons }],
      notes: [
        `Measured in ${settings.rounds * ROUNDS_EACH} rounds of ${seconds} s after ${timing.warmupSeconds} s of warm-up each.`,
      ],
    };
  },
};
