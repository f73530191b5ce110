import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { cli } from '../testing/cli.ts';

interface Seen {
  method: string;
  url: string;
  body: string;
  authorization: string | undefined;
}

const METADATA = {
  name: 'm',
  versions: ['1'],
  platform: 'p',
  inputs: [
    { name: 'ids', datatype: 'INT64', shape: [-1, 2] },
    { name: 'text', datatype: 'BYTES', shape: [-1, -1] },
  ],
  outputs: [],
};
const ANSWER = '{"outputs":[{"name":"y","data":[9007199254740993]}]}';

const seen: Seen[] = [];
let status = 200;
/** Answers as a v2 server would. */
const server = http.createServer((req, res) => {
  const chunks: Buffer[] = [];
  req.on('data', (chunk: Buffer) => chunks.push(chunk));
  req.on('end', () => {
    const { method = '', url = '', headers } = req;
    seen.push({ method, url, body: Buffer.concat(chunks).toString(), authorization: headers.authorization });
    res.statusCode = method === 'GET' ? 200 : status;
    res.end(method === 'GET' ? JSON.stringify(METADATA) : status === 200 ? ANSWER : '{"error":"no model \\"m\\""}');
  });
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
after(() => server.close());
const at = ['--url', `http://127.0.0.1:${(server.address() as AddressInfo).port}/`];

test('a request from standard input goes through as it is, and so does the answer', async () => {
  seen.length = 0;
  const request = '{"inputs":[{"name":"ids","datatype":"INT64","shape":[1,2],"data":[9007199254740993,1]}]}';
  const { code, out } = await cli(['infer', 'm', '--model-version', '3', '--api-key', 'k', ...at], request);
  assert.deepEqual([code, out], [0, ANSWER]);
  assert.deepEqual(seen, [
    { method: 'POST', url: '/v2/models/m/versions/3/infer', body: request, authorization: 'Bearer k' },
  ]);
});

test('--input takes datatype and shape from the metadata, and keeps 64-bit integers whole', async () => {
  seen.length = 0;
  const { code } = await cli([
    'infer',
    'm',
    '--input',
    'ids=[[9007199254740993,-1]]',
    '--input',
    'text=[["a=b"]]',
    ...at,
  ]);
  assert.equal(code, 0);
  assert.equal(
    seen[1].body,
    '{"inputs":[{"name":"ids","datatype":"INT64","shape":[1,2],"data":[[9007199254740993,-1]]},' +
      '{"name":"text","datatype":"BYTES","shape":[1,1],"data":[["a=b"]]}]}',
  );
});

test('what cannot be sent is a usage error that names the input', async () => {
  for (const [input, message] of [
    ['ids', /give <name>=<JSON>; the model's inputs are ids, text/],
    ['id=[1]', /the model's inputs are ids, text/],
    ['ids=[[1,2],[3]]', /--input ids: the lists inside are not all equally long/],
    ['ids=[1,2,3]', /--input ids: the data has shape \[3\], the model takes \[-1,2\]/],
    ['ids=[{}]', /--input ids: elements must be/],
    ['ids=[1', /--input ids: /],
  ] as const) {
    const { code, err } = await cli(['infer', 'm', '--input', input, ...at]);
    assert.equal(code, 2, input);
    assert.match(err, message);
    assert.doesNotMatch(err, /\n/);
  }
  assert.equal((await cli(['infer', 'm', '--input', 'ids=[1,2]', '--data', 'x', ...at])).code, 2);
});

test('standard input that is no request is refused before it is sent', async () => {
  seen.length = 0;
  for (const text of ['', '[]', '{"x":1}', '{"inputs":'])
    assert.equal((await cli(['infer', 'm', ...at], text)).code, 2);
  assert.deepEqual(seen, []);
});

test('bench sends zeros, counts answers and tells errors', async () => {
  seen.length = 0;
  const args = ['bench', 'm', '--concurrency', '2', '--duration', '0.2', '-o', 'json', ...at];
  const { code, out } = await cli(args);
  assert.equal(code, 0);
  const result = JSON.parse(out) as Record<string, number>;
  const sent = seen.filter((request) => request.method === 'POST');
  // One more than measured: the trial.
  assert.equal(result.succeeded, sent.length - 1);
  assert.ok(result.succeeded > 0 && result.p50Ms > 0 && result.p50Ms <= result.p99Ms && result.p99Ms <= result.maxMs);
  assert.deepEqual(JSON.parse(sent[0].body), {
    inputs: [
      { name: 'ids', datatype: 'INT64', shape: [1, 2], data: [0, 0] },
      { name: 'text', datatype: 'BYTES', shape: [1, 1], data: [''] },
    ],
  });
  status = 404;
  const refused = await cli(args);
  assert.deepEqual([refused.code, refused.err], [1, 'error: no model "m"']);
  status = 200;
});

test('bench --rate keeps to its schedule', async () => {
  const { out } = await cli(['bench', 'm', '--duration', '0.3', '--rate', '50', '-o', 'json', ...at]);
  assert.ok((JSON.parse(out) as { succeeded: number }).succeeded <= 15);
});
