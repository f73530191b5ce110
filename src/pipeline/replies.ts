import { type Frame, FrameReader } from '../executor/frame.ts';
import { ERROR_CODES, REPLY_END, REPLY_ERROR, REPLY_PARTIAL } from '../executor/messages.ts';
import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { InFlight } from './in-flight.ts';
import type { Timings } from './types.ts';

/**
 * Gives the requests that an executor's frame answers their answers. Returns how many have ended by it, as the executor
 * counts them. What has ended before is read over.
 *
 * @param now monotonicMs() of the frame's arrival: its answers arrived together
 */
export function takeReplies(frame: Frame, executor: number, now: number, inFlight: InFlight): number {
  const reader = new FrameReader(frame);
  let answers = 0;
  while (!reader.done) {
    const kind = reader.next();
    const pending = inFlight.pending.get(reader.next());
    if (kind === REPLY_ERROR) {
      const code = ERROR_CODES[reader.next()];
      const text = reader.text(reader.next());
      const retryAfterMs = reader.next();
      const cpu = reader.next();
      const gpu = reader.next();
      answers++;
      // Not the request's doing: its executor, or the process behind it, is gone or going.
      const again = code === 'unavailable' && pending?.executor === executor;
      if (again && inFlight.sendAgain(pending)) continue;
      if (pending !== undefined) {
        const error = new SwitchyardError(code, text, retryAfterMs > 0 ? { retryAfterMs } : {});
        if (pending.turn === undefined) inFlight.fail(pending, error, cpu, gpu);
        else inFlight.inTurn(pending, () => inFlight.fail(pending, error, cpu, gpu));
      }
      continue;
    }
    if (kind === REPLY_END) {
      answers++;
      if (pending !== undefined) inFlight.succeed(pending, [], undefined, true, now);
      continue;
    }
    const timings: Timings = {
      queue: reader.next(),
      computeInput: reader.next(),
      computeInfer: reader.next(),
      computeOutput: reader.next(),
      cpu: reader.next(),
      gpu: reader.next(),
      batchSize: reader.next(),
    };
    const count = reader.next();
    const final = kind !== REPLY_PARTIAL;
    if (final) answers++;
    if (pending === undefined) {
      for (let i = 0; i < count; i++) reader.skipTensor();
      continue;
    }
    const outputs: Tensor[] = new Array(count);
    for (let i = 0; i < count; i++) outputs[i] = reader.tensor(pending.version.config.signature.outputs);
    if (pending.turn === undefined) inFlight.succeed(pending, outputs, timings, final, now);
    else inFlight.inTurn(pending, () => inFlight.succeed(pending, outputs, timings, final, monotonicMs()));
  }
  return answers;
}
