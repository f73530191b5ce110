import type { Timings } from '../pipeline/types.ts';

/** Milliseconds with three decimals. Integer arithmetic: toFixed costs several times as much. */
function milliseconds(ms: number): string {
  const micros = ms > 0 ? Math.round(ms * 1000) : 0;
  const rest = micros % 1000;
  const whole = (micros - rest) / 1000;
  if (rest === 0) return `${whole}`;
  return rest < 10 ? `${whole}.00${rest}` : rest < 100 ? `${whole}.0${rest}` : `${whole}.${rest}`;
}

/** The Server-Timing header of an answer; `timings` undefined: nothing ran. `totalMs` from the first byte on. */
export function formatServerTiming(timings: Timings | undefined, totalMs: number): string {
  if (timings === undefined) return `total;dur=${milliseconds(totalMs)}`;
  return `queue;dur=${milliseconds(timings.queue)},compute_input;dur=${milliseconds(timings.computeInput)},compute_infer;dur=${milliseconds(timings.computeInfer)},compute_output;dur=${milliseconds(timings.computeOutput)},total;dur=${milliseconds(totalMs)}`;
}
