import type { LoadSpec } from '../../backends/backend.ts';
import { createBackend } from '../../backends/registry.ts';
import { toSwitchyardError } from '../../shared/errors.ts';
import type { PreflightReport } from '../loader.ts';
import { checkModel } from '../preflight-check.ts';
import type { PreflightMessage, PreflightOrder } from './protocol.ts';

/**
 * Entry of the preflight process: loads a version, checks it and reports, one after the other. Ends with its first
 * failure, and when its parent lets go.
 */
function send(message: PreflightMessage): Promise<void> {
  return new Promise((resolve) => {
    process.send?.(message, undefined, undefined, () => resolve());
  });
}

async function prove(backend: string, spec: LoadSpec): Promise<PreflightReport> {
  const model = await (await createBackend(backend)).load(spec);
  await send({ type: 'checking' });
  const { warmupMs } = await checkModel(model, spec.config);
  const { signature, memoryBytes } = model;
  await model.unload();
  return { signature, memoryBytes, warmupMs };
}

async function prepare(backend: string): Promise<void> {
  (await createBackend(backend)).prepare?.();
}

process.on('message', ({ backend, spec }: PreflightOrder) => {
  if (spec === undefined) {
    // What is wrong with the runtime is told of the first model.
    prepare(backend).catch(() => {});
    return;
  }
  void prove(backend, spec).then(
    (report) => send({ type: 'passed', report }),
    async (thrown) => {
      const { code, message } = toSwitchyardError(thrown);
      await send({ type: 'failed', code, message });
      // Not by itself: a model's own timers and threads must not keep the process.
      process.exit(0);
    },
  );
});
process.once('disconnect', () => process.exit(0));
