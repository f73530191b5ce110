import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { ServerProcess } from '../../testing/server-process.ts';
import { SOCKET_LIBRARIES } from '../../testing/socket-libraries.ts';
import { listen } from './open.ts';

/** Connections that one attack holds. */
const CONNECTIONS = 200;

/** Sockets that the kernel still holds established for a listening port of this machine. */
function established(port: number): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1);
  return rows.map((row) => row.trim().split(/\s+/)).filter((row) => row[1]?.endsWith(local) && row[3] === '01').length;
}

async function eventually(what: string, condition: () => boolean, seconds: number): Promise<void> {
  for (let i = 0; i < seconds * 10 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(condition(), what);
}

for (const library of SOCKET_LIBRARIES) {
  describe(`slow clients of ${library}`, { concurrency: true }, () => {
    const folder = mkdtempSync(join(tmpdir(), 'switchyard-slow-'));
    after(() => rmSync(folder, { recursive: true }));
    const attacks: [string, string[]][] = [
      ['slow heads', ['-H']],
      ['slow bodies', ['-B', '-s', '4096']],
      ['slow reading', ['-X', '-w', '1', '-y', '2', '-z', '1', '-n', '5', '-k', '3']],
    ];
    for (const [name, options] of attacks) {
      it(`${name}: others are served, and every connection of the attack is closed by its deadline`, async () => {
        const server = await ServerProcess.start(['--config', 'config/switchyard.yaml'], {
          env: { SWITCHYARD_HTTP: library },
        });
        after(() => server.stop());
        const url = server.url('/v2/models/digits/infer');
        const common = [
          '-c',
          String(CONNECTIONS),
          '-r',
          String(CONNECTIONS),
          '-i',
          '5',
          '-l',
          '25',
          '-x',
          '10',
          '-u',
          url,
        ];
        let attacking = true;
        let most = 0;
        const attack = new Promise<string>((resolve, reject) => {
          execFile('slowhttptest', [...options, ...common], { cwd: folder }, (error, stdout) => {
            attacking = false;
            if (error !== null && (error as NodeJS.ErrnoException).code === 'ENOENT') reject(error);
            else resolve(stdout);
          });
        });
        attack.catch(() => {});
        const example = readFileSync('config/models/digits/example.json', 'utf8');
        while (attacking) {
          most = Math.max(most, established(server.ports.http));
          const response = await fetch(url, { method: 'POST', body: example, headers: { connection: 'close' } });
          assert.equal(response.status, 200);
          await response.arrayBuffer();
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
        const report = await attack;
        assert.ok(most >= CONNECTIONS, `the attack held ${most} connections at most`);
        assert.match(report, /service available:\S*\s*\S*YES/);
        await eventually('connections outlive the attack', () => established(server.ports.http) === 0, 15);
      });
    }

    it('clients that stop reading a large answer or a stream are cut, and their requests end', async () => {
      const answer = Buffer.alloc(24 << 20, 'x');
      let aborted = 0;
      const server = await listen(
        { host: '127.0.0.1', port: 0, maxBodyBytes: 1000 },
        {
          onRequest(head, exchange) {
            const path = head.path;
            const pump = (): void => {
              while (exchange.write(answer.subarray(0, 1 << 20)));
            };
            exchange.receive({
              onBody: () => {
                if (path === '/answer') {
                  exchange.respond(200, '', answer);
                } else {
                  exchange.startStream(200, '');
                  pump();
                }
              },
              onWritable: pump,
              onAbort: () => aborted++,
            });
          },
        },
        library,
        { warn: () => {} },
      );
      const sockets = ['/answer', '/stream', '/answer', '/stream'].map((path) => {
        const socket = net.connect(server.port, '127.0.0.1').on('error', () => {});
        socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
        return socket.pause();
      });
      after(() => {
        for (const socket of sockets) socket.destroy();
        return server.close(0);
      });
      await eventually('no request came', () => server.inFlight() === sockets.length, 5);
      await eventually('requests outlive their deadline', () => server.inFlight() === 0, 30);
      assert.equal(aborted, sockets.length);
    });
  });
}
