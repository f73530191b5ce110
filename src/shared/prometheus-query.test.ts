import assert from 'node:assert/strict';
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
};

const asked: string[] = [];
const server = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += String(chunk);
  asked.push(`${request.method} ${request.url}`);
  const [status, text] = ANSWERS[new URLSearchParams(body).get('query') ?? ''];
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
  assert.match((await query('refused')).problem, /answered 400: .*parse error/);
  assert.match((await query('failed')).problem, /answered \{"status":"error"\}/);
  assert.match((await query('garbage')).problem, /cannot be asked: .*JSON/);
  const away = await query('scalar', 'http://127.0.0.1:1');
  assert.equal(away.numbers, undefined);
  assert.match(away.problem, /cannot be asked/);
});
