import { once } from 'node:events';
import { MessageChannel, Worker } from 'node:worker_threads';

const MESSAGES = 20_000;
const WORDS = 256;

const ECHO = `
const { workerData: port } = require('node:worker_threads');
port.on('message', (words) => port.postMessage(words, [words.buffer]));
`;

/** CPU microseconds of one message between two threads, on each of them: an array of numbers that changes owner. */
export async function messageMicros(): Promise<number> {
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(ECHO, { eval: true, workerData: port2, transferList: [port2] });
  await once(worker, 'online');
  const rally = (count: number): Promise<void> =>
    new Promise((resolve) => {
      let left = count;
      const onWords = (words: Float64Array): void => {
        if (--left > 0) port1.postMessage(words, [words.buffer as ArrayBuffer]);
        else {
          port1.off('message', onWords);
          resolve();
        }
      };
      port1.on('message', onWords);
      const first = new Float64Array(WORDS);
      port1.postMessage(first, [first.buffer]);
    });
  await rally(MESSAGES / 4);
  const before = process.cpuUsage();
  await rally(MESSAGES);
  const { user, system } = process.cpuUsage(before);
  port1.close();
  await worker.terminate();
  // A rally's stroke is two messages, and each of them is sent by one thread and read by the other.
  return (user + system) / MESSAGES / 4;
}
