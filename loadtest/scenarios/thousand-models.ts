import { join } from 'node:path';
import { ServerContestant, SharedServer } from '../contestant.ts';
import { SMALL_MLP } from '../mlp-model.ts';
import { playRounds } from '../rounds.ts';
import { makeWorkload, ratioOf, type Scenario } from '../scenario.ts';
import { switchyard } from '../targets/switchyard.ts';
import { driveHttp } from './front-ends.ts';

const COUNT = 1000;
const CONNECTIONS = 64;

export const thousandModels: Scenario = {
  name: 'thousand-models',
  description: `Closed loop, ${CONNECTIONS} connections, JSON: one small model loaded, against ${COUNT} loaded with all requests to one of them, and with requests spread over all (where each batch holds one request).`,
  async run(settings) {
    settings.say('thousand-models');
    const workload = await makeWorkload(join(settings.scratch, 'thousand-models'), SMALL_MLP, 64);
    const names = Array.from({ length: COUNT }, (_, i) => `small-${String(i).padStart(4, '0')}`);
    workload.model = names[0];
    const one = switchyard({ name: 'one-model', models: names.slice(0, 1) });
    const many = switchyard({ name: 'thousand-models', models: names });
    const shared = new SharedServer(many, workload);
    const paths = names.map((name) => `/v2/models/${name}/infer`);
    const { series } = await playRounds(
      [
        new ServerContestant(
          new SharedServer(one, workload),
          'json',
          driveHttp(one, workload, 'json', CONNECTIONS),
          settings.timing,
          'one loaded',
        ),
        new ServerContestant(
          shared,
          'json',
          driveHttp(many, workload, 'json', CONNECTIONS),
          settings.timing,
          '1,000 loaded, one used',
        ),
        new ServerContestant(
          shared,
          'json',
          driveHttp(many, workload, 'json', CONNECTIONS, paths),
          settings.timing,
          '1,000 loaded, all used',
        ),
      ],
      settings.rounds,
      settings.say,
    );
    const comparisons = [
      ...ratioOf(series, '1,000 loaded, one used', 'one loaded', 'of one loaded model, all requests to one of 1,000', {
        atLeast: 0.9,
      }),
      ...ratioOf(series, '1,000 loaded, all used', 'one loaded', 'of one loaded model, requests spread over 1,000', {
        atLeast: 0.9,
      }),
    ];
    return {
      name: this.name,
      description: this.description,
      panels: [{ title: `${CONNECTIONS} connections`, counts: 'requests', series, comparisons }],
      notes: [],
    };
  },
};
