import { connect, type Socket } from 'node:net';

export interface JsonCall {
  method: 'GET' | 'POST';
  path: string;
  body: unknown;
}

interface Waiter {
  resolve(answer: { status: number; body: Buffer }): void;
  reject(error: Error): void;
}

const HEAD_END = Buffer.from('\r\n\r\n');

/**
 * One HTTP/1.1 connection with one call at a time, of answers with a Content-Length. node:http's client costs 200 µs of
 * CPU a call: beside a fast server the generator would be half of what is measured.
 */
export class KeepAlive {
  private readonly port: number;
  private socket: Socket | undefined;
  private waiter: Waiter | undefined;
  private chunks: Buffer[] = [];
  private received = 0;
  /** Bytes of the whole answer; 0: its head has not come yet. */
  private expected = 0;
  private headBytes = 0;
  private status = 0;

  constructor(port: number) {
    this.port = port;
  }

  /** Rejects when no whole answer comes; the next call then opens a new connection. */
  send({ method, path, body }: JsonCall): Promise<{ status: number; body: Buffer }> {
    const text = method === 'GET' ? '' : JSON.stringify(body);
    const length =
      method === 'GET' ? '' : `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n`;
    this.socket ??= this.open();
    this.socket.write(`${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1:${this.port}\r\n${length}\r\n${text}`);
    return new Promise((resolve, reject) => {
      this.waiter = { resolve, reject };
    });
  }

  close(): void {
    this.socket?.destroy();
    this.socket = undefined;
  }

  private open(): Socket {
    const socket = connect(this.port, '127.0.0.1').setNoDelay();
    socket.on('data', (chunk: Buffer) => this.onData(chunk));
    socket.on('error', (error) => this.fail(socket, error));
    socket.on('close', () => this.fail(socket, new Error('the server closed the connection')));
    return socket;
  }

  private onData(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.received += chunk.length;
    if (this.expected === 0 && !this.readHead()) return;
    if (this.received < this.expected) return;
    const body = Buffer.concat(this.chunks).subarray(this.headBytes, this.expected);
    const { waiter, status } = this;
    this.forget();
    waiter?.resolve({ status, body });
  }

  /** False: it is not here whole, or cannot be read, which ends the connection. */
  private readHead(): boolean {
    const start = this.chunks.length === 1 ? this.chunks[0] : Buffer.concat(this.chunks);
    this.chunks = [start];
    const end = start.indexOf(HEAD_END);
    if (end < 0) return false;
    const head = start.toString('latin1', 0, end);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (length === undefined) {
      this.socket?.destroy(new Error(`an answer without Content-Length: ${head.slice(0, 200)}`));
      return false;
    }
    this.status = Number(head.slice(9, 12));
    this.headBytes = end + HEAD_END.length;
    this.expected = this.headBytes + Number(length);
    return true;
  }

  private fail(socket: Socket, error: Error): void {
    if (this.socket !== socket) return;
    const { waiter } = this;
    this.socket = undefined;
    this.forget();
    waiter?.reject(error);
  }

  private forget(): void {
    this.waiter = undefined;
    this.chunks = [];
    this.received = 0;
    this.expected = 0;
  }
}
