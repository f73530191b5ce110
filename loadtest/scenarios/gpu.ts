import { join } from 'node:path';
import { InProcessContestant, ServerContestant, SharedServer } from '../contestant.ts';
import { requireGpu, watchingGpu } from '../gpu.ts';
import { MID_MLP } from '../mlp-model.ts';
import { playRounds } from '../rounds.ts';
import { makeWorkload, ratioOf, type Scenario } from '../scenario.ts';
import { bootstrapMedian } from '../statistics.ts';
import { inProcessCudaArgs } from '../targets/limits.ts';
import { switchyard } from '../targets/switchyard.ts';
import { driveHttp } from './front-ends.ts';

const MAX_BATCH = 256;
/** Enough for both slots to be full, and for the next batches to form meanwhile. */
const CONNECTIONS = 4 * MAX_BATCH;

/** The provider's place where it is not beside onnxruntime-node's library, as models.cuda.providerLibrary takes it. */
const PROVIDER = process.env.SWITCHYARD_CUDA_PROVIDER ?? '';

export const gpu: Scenario = {
  name: 'gpu',
  description: `Closed loop: a 784-2048-2048-10 MLP on GPU 0 with CUDA graphs, one row a request in binary; rows per second beside the same model in process at its best static batch, and the GPU's idle share.`,
  async run(settings) {
    requireGpu();
    const workload = await makeWorkload(join(settings.scratch, 'gpu'), MID_MLP, MAX_BATCH);
    const target = switchyard({
      device: 'gpu',
      extraConfig: 'optimization { cuda { graphs: true } }\n',
      config: PROVIDER === '' ? undefined : { models: { cuda: { providerLibrary: PROVIDER } } },
    });
    const drive = driveHttp(target, workload, 'binary', CONNECTIONS);
    const idle: number[] = [];
    const server = new ServerContestant(
      new SharedServer(target, workload),
      'binary',
      async (server, probed, seconds) => {
        const watched = await watchingGpu(() => drive(server, probed, seconds));
        // Warm-ups are driven for other lengths.
        if (seconds === settings.timing.seconds) idle.push(watched.idle);
        return watched.result;
      },
      settings.timing,
    );
    const args = inProcessCudaArgs(PROVIDER);
    const limit = new InProcessContestant(workload, settings.timing, 'in-process CUDA', args);
    const { series } = await playRounds([server, limit], settings.rounds, settings.say);
    const measured = idle.filter(Number.isFinite);
    const comparisons = [
      ...ratioOf(series, 'switchyard', limit.name, "of in-process CUDA's rows/s at its best static batch", {
        atLeast: 0.95,
      }),
      ...(measured.length === 0
        ? []
        : [{ text: 'GPU idle', estimate: bootstrapMedian(measured), unit: '%' as const, goal: { atMost: 5 } }]),
    ];
    const scan = limit.scan.map(
      (f) => `batch ${f.batch}: ${Math.round(f.rowsPerSecond)} rows/s in ${f.medianMs.toFixed(2)} ms`,
    );
    return {
      name: this.name,
      description: this.description,
      panels: [{ title: `${CONNECTIONS} connections`, counts: 'rows', series, comparisons }],
      notes: [`In process: ${scan.join('; ')}.`],
    };
  },
};
