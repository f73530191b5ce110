import { join } from 'node:path';
import { InProcessContestant, ServerContestant, SharedServer } from '../contestant.ts';
import { MID_MLP } from '../mlp-model.ts';
import { playRounds } from '../rounds.ts';
import { figureOf, makeWorkload, type Panel, ratioOf, type Scenario } from '../scenario.ts';
import { PEERS } from '../targets/peers.ts';
import { switchyard } from '../targets/switchyard.ts';
import { driveHttp } from './front-ends.ts';

/** In flight, and the model's max_batch_size. At most two batches are under way: one runs, of the other the requests come in. */
const PANELS = [
  { connections: 64, maxBatch: 128 },
  { connections: 256, maxBatch: 128 },
  { connections: 512, maxBatch: 256 },
];
/** Rows of ONNX Runtime's best static batch: fewer than two of it in flight cannot reach it. */
const BEST_BATCH = 256;
/** The p99 the model's configuration asks the batcher for, milliseconds. */
const LATENCY_TARGET_MS = 50;
/** As a server for such a model alone on a machine would be set up. */
const CONFIG = { threads: { affinity: 'executors' } };

export const midBinary = midModel('mid-binary', 'binary', 'in binary', 0.98);
export const midJson = midModel('mid-json', 'json', 'of 784 floats in JSON', 0.9);

function midModel(name: string, wire: 'json' | 'binary', rows: string, atLeast: number): Scenario {
  return {
    name,
    description: `Closed loop: a 784-2048-2048-10 MLP on one execution thread, one row a request ${rows}, latency target ${LATENCY_TARGET_MS} ms; rows per second beside ONNX Runtime alone at its best static batch.`,
    async run(settings) {
      const panels: Panel[] = [];
      const notes = ['Switchyard runs with `threads.affinity: executors`: its executor has a core of its own.'];
      for (const { connections, maxBatch } of settings.quick ? PANELS.slice(-1) : PANELS) {
        settings.say(`${name}, ${connections} in flight`);
        const workload = await makeWorkload(join(settings.scratch, `${name}-${connections}`), MID_MLP, maxBatch);
        const extraConfig = `parameters { key: "switchyard.latency_target_ms" value: { string_value: "${LATENCY_TARGET_MS}" } }\n`;
        const limit = new InProcessContestant(workload, settings.timing);
        const peers = settings.peers.map((peer) => PEERS[peer]()).filter((peer) => peer.wires.includes(wire));
        const servers = [switchyard({ extraConfig, config: CONFIG }), ...peers].map((target) => {
          const drive = driveHttp(target, workload, wire, connections);
          return new ServerContestant(new SharedServer(target, workload), wire, drive, settings.timing);
        });
        const { series, absent } = await playRounds(
          [servers[0], limit, ...servers.slice(1)],
          settings.rounds,
          settings.say,
        );
        const comparisons = [
          ...ratioOf(
            series,
            'switchyard',
            limit.name,
            "of in-process ONNX Runtime's rows/s at its best static batch",
            connections >= 2 * BEST_BATCH ? { atLeast } : undefined,
          ),
          ...ratioOf(series, 'switchyard', 'triton', 'of Triton with its Python backend'),
          ...figureOf(series, 'switchyard', (m) => m.latency.p99, 'p99 under this load', 'ms', {
            atMost: LATENCY_TARGET_MS,
          }),
        ];
        panels.push({ title: `${connections} connections`, counts: 'rows', series, comparisons });
        notes.push(
          `ONNX Runtime alone, ${connections} connections' run: ${limit.scan
            .map((f) => `batch ${f.batch}: ${Math.round(f.rowsPerSecond)} rows/s in ${f.medianMs.toFixed(2)} ms`)
            .join('; ')}.`,
          ...absent.map((a) => `${a.name} could not be measured: ${a.reason.split('\n')[0]}`),
        );
      }
      return { name: this.name, description: this.description, panels, notes };
    },
  };
}
