import { toSwitchyardError } from '../../../shared/errors.ts';
import type { Work, WorkMessage } from './protocol.ts';
import { doWork } from './work.ts';

/** Entry of a worker process: does one piece of work, reports and ends. */
function send(message: WorkMessage): Promise<void> {
  return new Promise((resolve) => {
    process.send?.(message, undefined, undefined, () => resolve());
  });
}

process.once('message', (work: Work) => {
  void doWork(work)
    .then(
      (result) => send({ type: 'done', result }),
      (thrown) => {
        const { code, message } = toSwitchyardError(thrown);
        return send({ type: 'failed', code, message });
      },
    )
    .then(() => process.exit(0));
});
// The server is gone: it does the work anew when it is back.
process.once('disconnect', () => process.exit(0));
