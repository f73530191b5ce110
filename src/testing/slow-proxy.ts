import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** A way to another port of this machine that carries only so many bytes a second, in both directions together. */
export class SlowProxy {
  /** 0: as fast as it goes. */
  bytesPerSecond = 0;
  /** Carried so far. */
  bytes = 0;
  private readonly sockets = new Set<Socket>();
  private readonly server: Server;
  /** When what was taken so far is through. */
  private freeAt = 0;

  private constructor(to: number) {
    this.server = createServer((near) => {
      const far = connect(to, '127.0.0.1');
      for (const [from, into] of [
        [near, far],
        [far, near],
      ]) {
        this.sockets.add(from);
        from.on('data', (chunk: Buffer) => this.carry(chunk, from, into));
        from.on('error', () => into.destroy());
        from.on('close', () => {
          this.sockets.delete(from);
          into.destroy();
        });
      }
    });
  }

  static async listen(port: number, to: number): Promise<SlowProxy> {
    const proxy = new SlowProxy(to);
    proxy.server.listen(port, '127.0.0.1');
    await once(proxy.server, 'listening');
    return proxy;
  }

  async close(): Promise<void> {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
    await once(this.server, 'close');
  }

  private carry(chunk: Buffer, from: Socket, into: Socket): void {
    this.bytes += chunk.length;
    if (this.bytesPerSecond === 0) {
      into.write(chunk);
      return;
    }
    const now = performance.now();
    this.freeAt = Math.max(this.freeAt, now) + (chunk.length / this.bytesPerSecond) * 1000;
    from.pause();
    setTimeout(() => {
      into.write(chunk);
      from.resume();
    }, this.freeAt - now);
  }
}
