import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { ALL_EVENTS, exampleData, readEvent, writeEvent } from './events.ts';
import { checkWebhookUrl, isPublicAddress, resolveDestination, type WebhookPolicy } from './guard.ts';
import { deliver } from './send.ts';

const OPEN: WebhookPolicy = { schemes: ['https', 'http'], hosts: [], privateHosts: [] };
const LOCAL: WebhookPolicy = { ...OPEN, privateHosts: ['127.0.0.1', 'receiver.test'] };

interface Seen {
  request: IncomingMessage;
  body: string;
}
const seen: Seen[] = [];
let answer: { status: number; headers?: Record<string, string>; body?: string } | 'hang' = { status: 200 };
const server = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk: Buffer) => {
    body += chunk.toString();
  });
  request.on('end', () => {
    seen.push({ request, body });
    if (answer === 'hang') return;
    response.writeHead(answer.status, answer.headers).end(answer.body ?? '');
  });
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const port = (server.address() as AddressInfo).port;
after(() => {
  server.closeAllConnections();
  server.close();
});
const hook = (path = '/hook') => ({
  id: 'd-1',
  url: `http://127.0.0.1:${port}${path}`,
  secret: 'geheim',
  body: '{"a":1}',
});

test('a delivery carries what a receiver of MLflow webhooks verifies', async () => {
  answer = { status: 200, body: 'ok' };
  const result = await deliver(hook(), LOCAL, 1_700_000_000_999);
  assert.deepEqual(result, { status: 200, text: 'ok', error: '', passing: false });
  const { request, body } = seen.at(-1)!;
  assert.equal(request.method, 'POST');
  assert.equal(body, '{"a":1}');
  assert.equal(request.headers['content-type'], 'application/json');
  const {
    'x-mlflow-delivery-id': id,
    'x-mlflow-timestamp': timestamp,
    'x-mlflow-signature': signature,
  } = request.headers;
  assert.equal(timestamp, '1700000000');
  const expected = createHmac('sha256', 'geheim').update(`${id}.${timestamp}.${body}`).digest('base64');
  assert.equal(signature, `v1,${expected}`);
  await deliver({ ...hook(), secret: '' }, LOCAL, 0);
  assert.equal(seen.at(-1)!.request.headers['x-mlflow-signature'], undefined);
});

test('answers of servers in trouble may pass; a refusal and a redirect stay as they are', async () => {
  for (const [status, passing] of [
    [500, true],
    [503, true],
    [429, true],
    [400, false],
    [302, false],
  ] as const) {
    answer = { status, headers: { Location: `http://127.0.0.1:${port}/elsewhere` } };
    const before = seen.length;
    const result = await deliver(hook(), LOCAL, 0);
    assert.equal(result.status, status);
    assert.equal(result.passing, passing);
    assert.equal(seen.length, before + 1, 'a redirect is not followed');
  }
});

test('silence ends at the deadline, and a long answer is cut', async () => {
  answer = 'hang';
  const silent = await deliver(hook(), LOCAL, 0, { timeoutMs: 50 });
  assert.equal(silent.error, 'no answer within 50 ms');
  assert.equal(silent.passing, true);
  answer = { status: 200, body: 'x'.repeat(1_000_000) };
  const long = await deliver(hook(), LOCAL, 0);
  assert.equal(long.status, 200);
  assert.ok(long.text.length <= 16 * 1024);
});

test('without permission no private address is connected to, whatever it is called', async () => {
  const before = seen.length;
  for (const host of [
    '127.0.0.1',
    '0x7f.1',
    '2130706433',
    '0177.0.0.1',
    '127.1',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '0.0.0.0',
    'localhost',
  ]) {
    const result = await deliver({ ...hook(), url: `http://${host}:${port}/` }, OPEN, 0);
    assert.equal(result.status, 0, host);
    assert.match(result.error, /public internet/, host);
    assert.equal(result.passing, false, host);
  }
  assert.equal(seen.length, before);
});

test('a name is resolved once, and one bad address among good ones refuses it', async () => {
  let asked = 0;
  const resolve = async () => {
    asked++;
    return asked === 1
      ? [{ address: '93.184.216.34', family: 4 }]
      : [
          { address: '93.184.216.34', family: 4 },
          { address: '10.0.0.1', family: 4 },
        ];
  };
  const found = await resolveDestination('https://rebind.example/x', OPEN, resolve);
  assert.equal(found.address, '93.184.216.34');
  assert.equal(asked, 1);
  await assert.rejects(resolveDestination('https://rebind.example/x', OPEN, resolve), /leads to 10\.0\.0\.1/);
  const allowed = await resolveDestination('http://receiver.test/', LOCAL, async () => [{ address: '::1', family: 6 }]);
  assert.deepEqual([allowed.address, allowed.family], ['::1', 6]);
});

test('schemes, hosts and credentials are checked with what is allowed', () => {
  const strict: WebhookPolicy = {
    schemes: ['https'],
    hosts: ['hooks.example', '*.corp.example', 'p.example:8443'],
    privateHosts: [],
  };
  for (const good of ['https://hooks.example/a', 'https://a.corp.example/', 'https://p.example:8443/'])
    checkWebhookUrl(good, strict);
  for (const [bad, message] of [
    ['http://hooks.example/', /scheme "http"; allowed: https/],
    ['file:///etc/passwd', /scheme "file"/],
    ['gopher://hooks.example', /scheme/],
    ['https://user:pw@hooks.example/', /credentials/],
    ['https://corp.example.evil/', /names the host/],
    ['https://evilcorp.example/', /names the host/],
    ['https://p.example/', /names the host/],
    ['hooks.example', /not an absolute URL/],
    [`https://hooks.example/${'a'.repeat(3000)}`, /up to 2048/],
  ] as const)
    assert.throws(() => checkWebhookUrl(bad, strict), message, bad);
});

test('no address of a reserved range passes as public', () => {
  const byte = fc.integer({ min: 0, max: 255 });
  const reserved = fc.oneof(
    fc.tuple(fc.constantFrom(0, 10, 127), byte, byte, byte),
    fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), byte, byte),
    fc.tuple(fc.constant(192), fc.constant(168), byte, byte),
    fc.tuple(fc.constant(169), fc.constant(254), byte, byte),
    fc.tuple(fc.constant(100), fc.integer({ min: 64, max: 127 }), byte, byte),
    fc.tuple(fc.integer({ min: 224, max: 255 }), byte, byte, byte),
  );
  fc.assert(
    fc.property(reserved, (parts) => {
      const v4 = parts.join('.');
      const hex = parts.map((part) => part.toString(16).padStart(2, '0'));
      const tail = `${hex[0]}${hex[1]}:${hex[2]}${hex[3]}`;
      for (const address of [v4, `::ffff:${v4}`, `::ffff:${tail}`, `64:ff9b::${tail}`, `2002:${tail}::1`, `::${tail}`])
        assert.equal(isPublicAddress(address), false, address);
    }),
  );
  for (const address of [
    '::1',
    '::',
    'fe80::1',
    'fe80::1%eth0',
    'fc00::1',
    'fd12::1',
    'ff02::1',
    '2001:db8::1',
    'no address',
  ])
    assert.equal(isPublicAddress(address), false, address);
  for (const address of ['8.8.8.8', '2606:4700:4700::1111', '::ffff:8.8.8.8'])
    assert.equal(isPublicAddress(address), true, address);
});

test('events are read and written as MLflow does, and unknown ones name what is known', () => {
  for (const name of ALL_EVENTS) {
    const [entity, action] = name.split('.');
    assert.deepEqual(readEvent(writeEvent({ entity, action }), 'events[0]'), { entity, action });
    assert.ok(Object.keys(exampleData({ entity, action })).length > 0);
  }
  for (const bad of [
    undefined,
    'model_version.created',
    { entity: 'model_version' },
    { entity: 'model_version', action: 'exploded' },
    { entity: '__proto__', action: 'x' },
  ])
    assert.throws(() => readEvent(bad, 'events[0]'), /events\[0\] is .*model_version\.created/);
});
