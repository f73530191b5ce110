import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { scriptRepository, sleeps, x } from './script-models.ts';
import { infer, ServerProcess } from './server-process.ts';

/** Places of the executor, and clients that ask all the time: ten for each. */
const PLACES = 32;
const CLIENTS = PLACES * 10;
const STORM_MS = 4000;

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-overload-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** One whole answer, head and body. */
function readAnswer(socket: net.Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const onData = (chunk: string): void => {
      text += chunk;
      const body = text.indexOf('\r\n\r\n') + 4;
      const length = /\r\ncontent-length: (\d+)/i.exec(text)?.[1];
      if (body < 4 || length === undefined || text.length < body + Number(length)) return;
      socket.off('data', onData).off('close', onClose);
      resolve(text);
    };
    const onClose = (): void => reject(new Error(`the connection closed behind ${JSON.stringify(text)}`));
    socket.on('data', onData).on('close', onClose);
  });
}

test('ten times the load: the highest priority is always served, the rest as far as places go or refused with a time to come back', async () => {
  const root = scriptRepository(scratch, {
    work: {
      versions: { 1: sleeps(20) },
      config: 'dynamic_batching { priority_levels: 3 default_priority_level: 3 }',
    },
  });
  const config = join(scratch, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nlimits: {maxOutstanding: ${PLACES}}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  const server = await ServerProcess.start(['--config', config]);
  after(() => server.stop());
  const body = JSON.stringify({ inputs: x(1) });
  const end = performance.now() + STORM_MS;
  /** One client that asks again after each answer, whatever it was. Statuses by count. */
  const client = async (priority: number): Promise<Map<number, number>> => {
    const counts = new Map<number, number>();
    const socket = net.connect(server.ports.http, '127.0.0.1').setEncoding('latin1');
    const request = `POST /v2/models/work/infer HTTP/1.1\r\nHost: x\r\nX-Switchyard-Priority: ${priority}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    while (performance.now() < end) {
      socket.write(request);
      const answer = await readAnswer(socket);
      const status = Number(answer.slice(9, 12));
      counts.set(status, (counts.get(status) ?? 0) + 1);
      if (status === 200) continue;
      assert.equal(status, 429, answer);
      assert.match(answer, /\r\nRetry-After: [1-9]\d*\r\n/i);
      assert.match(answer, /"error":"[^"]+/);
    }
    socket.destroy();
    return counts;
  };
  const priorities = [...Array(4).fill(1), ...Array(CLIENTS / 2).fill(2), ...Array(CLIENTS / 2).fill(3)];
  const counts = await Promise.all(priorities.map(client));
  const total = (priority: number, status: number): number =>
    counts.reduce((sum, map, i) => sum + (priorities[i] === priority ? (map.get(status) ?? 0) : 0), 0);
  const table = [1, 2, 3].map(
    (priority) => `priority ${priority}: ${total(priority, 200)} served, ${total(priority, 429)} refused`,
  );
  console.log(table.join('; '));
  assert.equal(total(1, 429), 0, 'the highest priority is never shed');
  assert.ok(total(1, 200) > 0);
  assert.ok(total(2, 200) > total(3, 200), 'the lower of two priorities is shed before the higher');
  assert.ok(total(3, 429) > total(3, 200), 'this was an overload');
  // The storm is over: the first request is served, and nothing of the storm is left.
  assert.equal((await infer(server, 'work', x(1))).status, 200);
  const metrics = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  assert.match(metrics, /nv_inference_pending_request_count\{model="work",version="1"\} 0/);
});
