import { type MessagePort, parentPort } from 'node:worker_threads';
import { native } from '../../tensor/native.ts';
import type { ScanOrder } from './messages.ts';
import { answerFor } from './scan.ts';

/** Entry of the thread that reads large bodies which the addon does not take, one at a time: orders in, answers out. */
const port = parentPort as MessagePort;

// Most of them are errors: whoever sends what can be read comes first. As NICER_BY of models/preflight/launcher.ts.
native!.giveWay(10);

port.on('message', ({ loan, form }: ScanOrder) => {
  const lent = native!.borrow(loan);
  if (lent === undefined) {
    port.postMessage({ kind: 'unread' });
    return;
  }
  const { answer, transfer } = answerFor(new Uint8Array(lent), form);
  native!.giveBack(lent);
  port.postMessage(answer, transfer);
});
