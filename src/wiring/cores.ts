import { readdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Config } from '../config/schema.ts';
import { type CorePlan, planCores } from '../control/core-plan.ts';
import type { Logger } from '../telemetry/logging.ts';
import { native, nativeProblem } from '../tensor/native.ts';

/**
 * With `threads.affinity`: puts this thread and all that are there on the cores that threads share, which those to come
 * inherit; executors then take their own. To be called before any of them is started. Undefined: threads go where they like.
 * @param runThreads those of one run of ONNX Runtime, its executor counted in
 */
export async function divideCores(
  { affinity, executors }: Config['threads'],
  runThreads: number,
  logger: Logger,
): Promise<CorePlan | undefined> {
  if (affinity === 'none') return undefined;
  const refuse = (fields: object, why: string): undefined => {
    logger.warn(fields, `threads.affinity has no effect: ${why}`);
  };
  if (process.platform !== 'linux') return refuse({}, 'only Linux puts threads on cores');
  if (native === undefined)
    return refuse({ problem: nativeProblem || 'SWITCHYARD_NATIVE=off' }, 'the addon does it, which is not in use');
  const usable = native.usableCores();
  const plan = planCores(usable, executors, runThreads);
  const fields = { cores: usable, executors, runThreads };
  if (plan === undefined) return refuse(fields, 'with a core for each executor, none is left for the other threads');
  // libuv starts its threads with the first work for them, which may otherwise be an executor's.
  await stat(process.execPath);
  const shared = Int32Array.from(plan.shared);
  if (!native.giveChildrenCores(Int32Array.from(usable)) || !native.useCores(0, shared))
    return refuse(fields, 'the kernel refuses');
  // Those of V8 and libuv. One that has ended meanwhile needs no core.
  for (const thread of readdirSync('/proc/self/task')) native.useCores(Number(thread), shared);
  logger.info(plan, 'executors have cores of their own');
  return plan;
}
