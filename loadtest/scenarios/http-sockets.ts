import { join } from 'node:path';
import { ServerContestant, SharedServer } from '../contestant.ts';
import { SMALL_MLP } from '../mlp-model.ts';
import { playRounds } from '../rounds.ts';
import { makeWorkload, type Panel, ratioOf, type Scenario } from '../scenario.ts';
import { bareUws } from '../targets/limits.ts';
import { switchyard } from '../targets/switchyard.ts';
import { driveHttp } from './front-ends.ts';

const MAX_BATCH = 64;

/** What the HTTP port costs on uWebSockets.js and in the addon. */
export const httpSockets: Scenario = {
  name: 'http-sockets',
  description: 'Closed loop: the small MLP over v2 JSON, the HTTP port on uWebSockets.js and in the addon.',
  async run(settings) {
    const panels: Panel[] = [];
    for (const connections of settings.quick ? [64] : [64, 256]) {
      settings.say(`http-sockets, ${connections} in flight`);
      const workload = await makeWorkload(join(settings.scratch, `http-sockets-${connections}`), SMALL_MLP, MAX_BATCH);
      const targets = [
        switchyard({ name: 'addon', env: { SWITCHYARD_HTTP: 'native' } }),
        switchyard({ name: 'uws', env: { SWITCHYARD_HTTP: 'uws' } }),
        bareUws('json'),
      ];
      const contestants = targets.map((target) => {
        const drive = driveHttp(target, workload, 'json', connections);
        return new ServerContestant(new SharedServer(target, workload), 'json', drive, settings.timing);
      });
      const { series } = await playRounds(contestants, settings.rounds, settings.say);
      const comparisons = [
        ...ratioOf(series, 'addon', 'uws', 'of the same on uWebSockets.js'),
        ...ratioOf(series, 'addon', 'bare-uws', 'of bare uWebSockets.js answering the same POST'),
        ...ratioOf(series, 'uws', 'bare-uws', 'of bare uWebSockets.js answering the same POST'),
      ];
      panels.push({ title: `${connections} connections`, counts: 'requests', series, comparisons });
    }
    return { name: this.name, description: this.description, panels, notes: [] };
  },
};
