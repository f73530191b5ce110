import { MessageChannel } from 'node:worker_threads';

/** What is sent to a closed port is gone at once. */
const channel = new MessageChannel();
channel.port2.close();

/**
 * Frees the memory of bytes that nobody needs any more, now rather than at a collection, where they are all that their
 * buffer holds; they are empty afterwards. For streams of many megabytes: V8 counts the buffers that wait to be collected,
 * and after a quiet time collects its whole heap each 32 MiB of them.
 */
export function releaseMemory({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && byteLength === buffer.byteLength) channel.port1.postMessage(undefined, [buffer]);
}
