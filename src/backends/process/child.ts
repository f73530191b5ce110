import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { BackendModel, ExecuteOptions } from '../backend.ts';
import { createBackend } from '../registry.ts';
import { type ExecuteOrder, type FromChild, STREAM_WINDOW, type ToChild } from './protocol.ts';

/** One request, from its arrival to its last message. */
interface Job {
  order: ExecuteOrder;
  abort: AbortController;
  /** Responses the reader has room for. */
  window: number;
  /** Goes on with a stream that waits for room. */
  wake: () => void;
}

/** Entry of an isolated executor: one process, one loaded version, one request at a time. It ends with its parent. */
let model: BackendModel | undefined;
const waiting: Job[] = [];
let running: Job | undefined;
let scheduled = false;

/** What has been told of this process's CPU time, in microseconds. Loading is no part of what requests cost. */
let toldUs = 0;

function send(message: FromChild): void {
  process.send?.(message);
}

function usedUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function cpuUs(): number {
  const told = toldUs;
  toldUs = usedUs();
  return toldUs - told;
}

function sendError(id: number, thrown: unknown): void {
  const error = toSwitchyardError(thrown);
  send({ type: 'error', id, code: error.code, message: error.message, cpuUs: cpuUs() });
}

/** After the messages that have arrived are read: a cancel among them takes its request away before it runs. */
function schedule(): void {
  if (scheduled || running !== undefined || waiting.length === 0) return;
  scheduled = true;
  setImmediate(() => {
    scheduled = false;
    running = waiting.shift();
    if (running === undefined) return;
    void run(running).finally(() => {
      running = undefined;
      schedule();
    });
  });
}

async function run(job: Job): Promise<void> {
  const { id, inputs, outputs, parameters, deadline, stream } = job.order;
  const options: ExecuteOptions = { outputs, deadline, parameters, signal: job.abort.signal };
  try {
    if (stream) {
      for await (const part of model!.executeStream!(inputs, options)) {
        if (job.window === 0 && !job.abort.signal.aborted) {
          await new Promise<void>((resolve) => {
            job.wake = resolve;
          });
        }
        if (job.abort.signal.aborted) throw cancelled();
        job.window--;
        send({ type: 'part', id, outputs: part, cpuUs: cpuUs() });
      }
      send({ type: 'end', id, cpuUs: cpuUs() });
    } else {
      const answer = await model!.execute(inputs, options);
      send({ type: 'result', id, outputs: answer, cpuUs: cpuUs() });
    }
  } catch (error) {
    sendError(id, error);
  }
}

function cancel(id: number): void {
  if (running?.order.id === id) {
    running.abort.abort();
    running.wake();
    return;
  }
  const at = waiting.findIndex((job) => job.order.id === id);
  if (at < 0) return;
  waiting.splice(at, 1);
  sendError(id, cancelled());
}

function cancelled(): SwitchyardError {
  return new SwitchyardError('cancelled', 'the request was cancelled');
}

async function handle(message: ToChild): Promise<void> {
  switch (message.type) {
    case 'load':
      try {
        model = await (await createBackend(message.backend)).load(message.spec);
        const { signature, memoryBytes } = model;
        toldUs = usedUs();
        send({ type: 'loaded', signature, memoryBytes, streams: model.executeStream !== undefined });
        model.watchAbsence?.(() => send({ type: 'absence', absence: model?.absence?.() ?? '' }));
      } catch (error) {
        sendError(0, error);
      }
      return;
    case 'execute':
      waiting.push({
        order: message,
        abort: new AbortController(),
        window: STREAM_WINDOW,
        wake: () => {},
      });
      schedule();
      return;
    case 'cancel':
      cancel(message.id);
      return;
    case 'more':
      if (running?.order.id !== message.id) return;
      running.window++;
      running.wake();
      return;
    case 'unload':
      await model?.unload();
      process.disconnect();
  }
}

process.on('message', (message: ToChild) => void handle(message));
process.on('disconnect', () => process.exit(0));
// The terminal's Ctrl-C reaches the whole process group; the parent drains and then unloads.
process.on('SIGINT', () => {});
