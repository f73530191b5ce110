import net from 'node:net';

export interface RawResult {
  text: string;
  /** The server closed the connection before the wait was over. */
  closed: boolean;
}

/**
 * Speaks bytes, not HTTP: writes the parts one by one and collects what comes back until the server closes, `until`
 * matches, or `waitMs` passes.
 */
export function speak(port: number, parts: string[], until: RegExp | undefined, waitMs = 2000): Promise<RawResult> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    let text = '';
    let over = false;
    const end = (closed: boolean): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      socket.destroy();
      resolve({ text, closed });
    };
    const timer = setTimeout(end, waitMs, false);
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (until?.test(text)) end(false);
    });
    socket.on('error', () => {});
    socket.on('close', () => end(true));
    socket.on('connect', async () => {
      for (const part of parts) {
        if (over || !socket.writable) return;
        socket.write(part, 'latin1');
        await new Promise((next) => setTimeout(next, 10));
      }
    });
  });
}
