import type { Timings } from '../../../pipeline/types.ts';

/** '.000' … '.999': formatting a fraction through these costs a tenth of formatting a double. */
const THOUSANDTHS = Array.from({ length: 1000 }, (_, i) => `.${String(i).padStart(3, '0')}`);

/** A duration in milliseconds with microsecond resolution, e.g. 1.5 → "1.500". Negative ones count as 0. */
export function formatMs(ms: number): string {
  if (!(ms > 0)) return '0';
  const micros = Math.round(ms * 1000);
  return Math.floor(micros / 1000) + THOUSANDTHS[micros % 1000];
}

/** The header line, CRLF first. */
export function serverTimingLine(timings: Timings): string {
  return `\r\nServer-Timing: queue;dur=${formatMs(timings.queue)}, compute_input;dur=${formatMs(
    timings.computeInput,
  )}, compute_infer;dur=${formatMs(timings.computeInfer)}, compute_output;dur=${formatMs(
    timings.computeOutput,
  )}, batch;desc="${timings.batchSize}"`;
}
