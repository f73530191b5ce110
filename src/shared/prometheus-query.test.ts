import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { queryPrometheus } from './prometheus-query.ts';

/** What the server says to each query. */
const ANSWERS: Record<string, [number, string]> = {
  scalar: [200, '{"status":"success","data":{"resultType":"scalar","result":[1,"0.5"]}}'],
  vector: [
    200,
    '{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"2"]},{"value":[1,"NaN"]},{"value":[1,"+Inf"]}]}}',
  ],
  matrix: [200, '{"status":"success","data":{"resultType":"matrix","result":[]}}'],
  nothing: [200, '{"status":"success"}'],
  refused: [400, '{"status":"error","errorType":"bad_data","error":"parse error"}'],
  failed: [200, '{"status":"error"}'],
  garbage: [200, '<html>'],
  secret: [403, '{"status":"error","secret":"7h3 k3y"}'],
  null: [200, 'null'],
};

const asked: string[] = [];
let endlessClosed = false;
const server = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += String(chunk);
  asked.push(`${request.method} ${request.url}`);
  const query = new URLSearchParams(body).get('query') ?? '';
  if (query === 'endless') {
    response.writeHead(200);
    response.on('close', () => {
      endlessClosed = true;
    });
    while (!response.destroyed) {
      if (!response.write(' '.repeat(65_536))) await Promise.race([once(response, 'drain'), once(response, 'close')]);
    }
    return;
  }
  const [status, text] = ANSWERS[query];
  response.writeHead(status).end(text);
});
let address: string;
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => server.close());

async function query(text: string, base = address): Promise<{ numbers: number[] | undefined; problem: string }> {
  let problem = '';
  const numbers = await queryPrometheus({ address: base, query: text }, (message) => {
    problem = message;
  });
  return { numbers, problem };
}

test('gives the number of a scalar, and one per series of a vector', async () => {
  assert.deepEqual((await query('scalar')).numbers, [0.5]);
  assert.deepEqual((await query('vector')).numbers, [2, Number.NaN, Number.NaN]);
  assert.deepEqual((await query('matrix')).numbers, []);
  assert.deepEqual((await query('nothing')).numbers, []);
});

test('asks below the path of its address', async () => {
  await query('scalar', `${address}/prometheus`);
  assert.equal(asked.at(-1), 'POST /prometheus/api/v1/query');
});

test('says why there is no answer, and never rejects', async () => {
  assert.match((await query('refused')).problem, /answered 400: bad_data: parse error$/);
  const away = await query('scalar', 'http://127.0.0.1:1');
  assert.equal(away.numbers, undefined);
  assert.match(away.problem, /cannot be asked/);
});

test('repeats nothing that is not an error of Prometheus', async () => {
  for (const answer of ['failed', 'garbage', 'secret', 'null'])
    assert.match((await query(answer)).problem, /^\S+ answered \d+: not in the form of Prometheus's HTTP API/, answer);
});

test('stops reading an answer that is too large', async () => {
  const { numbers, problem } = await query('endless');
  assert.equal(numbers, undefined);
  assert.match(problem, /more than 1000000 bytes; ask for fewer series/);
  while (!endlessClosed) await new Promise(setImmediate);
});
