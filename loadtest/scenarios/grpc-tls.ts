import { join } from 'node:path';
import { ServerContestant, SharedServer } from '../contestant.ts';
import { SMALL_MLP } from '../mlp-model.ts';
import { playRounds } from '../rounds.ts';
import { makeWorkload, type Panel, ratioOf, type Scenario } from '../scenario.ts';
import { switchyard } from '../targets/switchyard.ts';
import { driveGrpc } from './front-ends.ts';

const MAX_BATCH = 64;
const CONNECTIONS = 8;

/** What TLS costs on the gRPC port, by the addon and by node:http2. */
export const grpcTls: Scenario = {
  name: 'grpc-tls',
  description: 'Closed loop: the small MLP over gRPC, without TLS and with it in the addon and in node:http2.',
  async run(settings) {
    const panels: Panel[] = [];
    for (const streams of settings.quick ? [64] : [64, 256]) {
      settings.say(`grpc-tls, ${streams} in flight`);
      const workload = await makeWorkload(join(settings.scratch, `grpc-tls-${streams}`), SMALL_MLP, MAX_BATCH);
      const targets = [
        switchyard({ name: 'plain' }),
        switchyard({ name: 'tls-addon', tls: true }),
        switchyard({ name: 'tls-node', tls: true, env: { SWITCHYARD_GRPC: 'node' } }),
      ];
      const contestants = targets.map((target) => {
        const drive = driveGrpc(target, workload, CONNECTIONS, streams / CONNECTIONS);
        return new ServerContestant(new SharedServer(target, workload), 'grpc', drive, settings.timing);
      });
      const { series } = await playRounds(contestants, settings.rounds, settings.say);
      const comparisons = [
        ...ratioOf(series, 'tls-addon', 'tls-node', 'of node:http2 with TLS'),
        ...ratioOf(series, 'tls-addon', 'plain', 'of the addon without TLS'),
      ];
      panels.push({
        title: `${streams} streams on ${CONNECTIONS} connections`,
        counts: 'requests',
        series,
        comparisons,
      });
    }
    return { name: this.name, description: this.description, panels, notes: [] };
  },
};
