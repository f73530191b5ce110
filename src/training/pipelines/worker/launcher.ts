import { describeExit, forkEntry } from '../../../backends/process/fork.ts';
import { SwitchyardError } from '../../../shared/errors.ts';
import type { Work, WorkMessage, WorkResult } from './protocol.ts';

/**
 * Does a piece of work in a process of its own, so that it costs the control thread nothing and its crash is one step's
 * failure. Throws SwitchyardError: the work's own, failed_precondition when the process ended before it was done,
 * cancelled when the signal came first.
 */
export function runWork(work: Work, signal: AbortSignal): Promise<WorkResult> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(cancelled());
      return;
    }
    const { process: child, stderrTail } = forkEntry('training/pipelines/worker/child');
    const settle = (act: () => void): void => {
      signal.removeEventListener('abort', abort);
      child.removeAllListeners();
      child.kill('SIGKILL');
      act();
    };
    const abort = (): void => settle(() => reject(cancelled()));
    signal.addEventListener('abort', abort);
    child.on('message', (message: WorkMessage) => {
      if (message.type === 'done') settle(() => resolve(message.result));
      else settle(() => reject(new SwitchyardError(message.code, message.message)));
    });
    const fail = (what: string): void => {
      const tail = stderrTail().trim().split('\n').slice(-5).join('\n').slice(-1000);
      const text = `the process of the step ${what}${tail === '' ? '' : `: ${tail}`}`;
      settle(() => reject(new SwitchyardError('failed_precondition', text)));
    };
    child.once('error', (error) => fail(`could not be started (${error.message})`));
    child.once('close', (code, killed) => fail(describeExit(code, killed)));
    child.send(work, () => {});
  });
}

function cancelled(): SwitchyardError {
  return new SwitchyardError('cancelled', 'the step was cancelled');
}
