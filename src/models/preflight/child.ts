import { createBackend } from '../../backends/registry.ts';
import { toSwitchyardError } from '../../shared/errors.ts';
import type { PreflightReport } from '../loader.ts';
import { checkModel } from '../preflight-check.ts';
import type { PreflightMessage, PreflightOrder } from './protocol.ts';

/** Entry of the preflight process: loads one version, checks it, reports and ends. */
function send(message: PreflightMessage): Promise<void> {
  return new Promise((resolve) => {
    process.send?.(message, undefined, undefined, () => resolve());
  });
}

async function prove({ backend, spec }: PreflightOrder): Promise<PreflightReport> {
  const model = await (await createBackend(backend)).load(spec);
  await send({ type: 'checking' });
  const { warmupMs } = await checkModel(model, spec.config);
  return { signature: model.signature, memoryBytes: model.memoryBytes, warmupMs };
}

process.once('message', (order: PreflightOrder) => {
  void prove(order)
    .then(
      (report) => send({ type: 'passed', report }),
      (thrown) => {
        const { code, message } = toSwitchyardError(thrown);
        return send({ type: 'failed', code, message });
      },
    )
    // Not by itself: a model's own timers and threads must not keep the process.
    .then(() => process.exit(0));
});
process.once('disconnect', () => process.exit(0));
