import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { RegistryUnderTest } from '../testing/registry.ts';
import { RegistryFiles } from './registry-files.ts';

/** What becomes of the next requests on their way to the registry: by method, one each. */
type Fault = 'refused' | 'unavailable' | 'answer lost';
const faults: { method: string; fault: Fault }[] = [];
let served: RegistryUnderTest;
let front: http.Server;

/** A way to a real registry that fails now and then. */
function forward(request: http.IncomingMessage, response: http.ServerResponse): void {
  const next = faults[0]?.method === request.method ? faults.shift() : undefined;
  if (next?.fault === 'refused') {
    request.socket.destroy();
    return;
  }
  if (next?.fault === 'unavailable') {
    request.resume();
    response.writeHead(503, { 'content-type': 'application/json' }).end('{"error":"starting","code":"unavailable"}');
    return;
  }
  const { method, url, headers } = request;
  const onward = http.request(served.url + url, { method, headers }, (answer) => {
    if (next?.fault === 'answer lost') {
      answer.resume();
      answer.once('end', () => request.socket.destroy());
      return;
    }
    response.writeHead(answer.statusCode ?? 0, answer.headers);
    answer.pipe(response);
  });
  request.pipe(onward);
}

before(async () => {
  served = await RegistryUnderTest.open();
  front = http.createServer(forward);
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
});
after(async () => {
  front.closeAllConnections();
  front.close();
  await served.close();
});

const content = randomBytes(3_000_000);
const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`;
async function* bytesFrom(offset: number): AsyncGenerator<Buffer> {
  for (let at = offset; at < content.length; at += 100_000) yield content.subarray(at, at + 100_000);
}

async function upload(path: string, ...plan: [string, Fault][]): Promise<number[]> {
  faults.push(...plan.map(([method, fault]) => ({ method, fault })));
  const client = new RegistryFiles({ url: `http://127.0.0.1:${(front.address() as AddressInfo).port}` });
  const from: number[] = [];
  await client.upload({ path, size: content.length, digest, media_type: '' }, (offset) => {
    from.push(offset);
    return bytesFrom(offset);
  });
  assert.deepEqual(faults, [], 'every fault was met');
  const got = await fetch(`${served.url}/api/2.0/mlflow-artifacts/artifacts/${path}`);
  assert.ok(content.equals(Buffer.from(await got.arrayBuffer())), 'the artifact has the bytes');
  return from;
}

test('an upload outlives a server that is away, at every step of it', async () => {
  await upload('a/announced', ['POST', 'refused'], ['POST', 'unavailable']);
  await upload('a/sent', ['PATCH', 'refused'], ['GET', 'refused'], ['GET', 'unavailable'], ['PATCH', 'unavailable']);
});

test('an upload whose last answer was lost is not sent again', async () => {
  assert.deepEqual(await upload('b/whole', ['PATCH', 'answer lost'], ['GET', 'refused']), [0]);
});

test('an upload that the server refuses is not tried again', async () => {
  const client = new RegistryFiles({ url: served.url });
  const wrong = `sha256:${'0'.repeat(64)}`;
  let sent = 0;
  await assert.rejects(
    client.upload({ path: 'c/wrong', size: content.length, digest: wrong, media_type: '' }, (offset) => {
      sent++;
      return bytesFrom(offset);
    }),
    /digest/,
  );
  assert.equal(sent, 1);
});
