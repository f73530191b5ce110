import type { ServerHttp2Stream } from 'node:http2';
import { SLICE } from './call-stream.ts';

/**
 * Sends large frames slice by slice: what is handed to the HTTP/2 session counts against its memory limit, and a
 * session over that limit refuses new calls. Small frames go through it only once a large one is on its way.
 */
export class Outbox {
  /** Bytes not yet handed over. */
  bytes = 0;
  private readonly stream: ServerHttp2Stream;
  private readonly frames: Buffer[] = [];
  private writing = false;
  private ending = false;

  constructor(stream: ServerHttp2Stream) {
    this.stream = stream;
  }

  /** False when bytes had to wait: the stream's 'drain' event tells when they have left. */
  push(frame: Buffer): boolean {
    this.frames.push(frame);
    this.bytes += frame.length;
    if (!this.writing) this.next();
    return this.bytes === 0;
  }

  end(): void {
    this.ending = true;
    if (!this.writing) this.stream.end();
  }

  private readonly next = (error?: Error | null): void => {
    this.writing = false;
    if ((error !== null && error !== undefined) || this.stream.destroyed) {
      this.frames.length = 0;
      this.bytes = 0;
      return;
    }
    const frame = this.frames[0];
    if (frame === undefined) {
      if (this.ending) this.stream.end();
      else this.stream.emit('drain');
      return;
    }
    const slice = frame.length <= SLICE ? frame : frame.subarray(0, SLICE);
    if (slice.length === frame.length) this.frames.shift();
    else this.frames[0] = frame.subarray(SLICE);
    this.bytes -= slice.length;
    this.writing = true;
    this.stream.write(slice, this.next);
  };
}
