import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dataSchema } from '../config/data-schema.ts';
import type { ModelConfig } from '../config/model-config.ts';
import { readModelValidation } from '../config/model-validation.ts';
import type { InferRequest, RequestContext, ServingTable, ServingVersion } from '../pipeline/types.ts';
import { doesNotExist } from '../registry/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { Door } from './door.ts';
import { KeptAtDoor } from './kept-at-door.ts';

function version(validation: string): ServingVersion {
  const config = {
    signature: { inputs: [{ name: 'x', datatype: 'FP32', shape: [-1] }], outputs: [], maxBatchSize: 8 },
    validation: readModelValidation(validation, 'switchyard.validation'),
  } as unknown as ModelConfig;
  return { model: 'm', config } as ServingVersion;
}

const table = (...versions: ServingVersion[]) =>
  ({ generation: 1, models: new Map([['m', { versions }]]) }) as unknown as ServingTable;

/** Kept schemas, the door of a gateway thread, and what leads from one to the other. */
function setUp() {
  const kept: ReturnType<typeof dataSchema.parse>[] = [];
  const door = new Door();
  const logged: string[] = [];
  let down = false;
  const follower = new KeptAtDoor({
    read: async (name, wanted) => {
      if (down) throw new Error('the database is away');
      const at = wanted ?? kept.length;
      if (kept[at - 1] === undefined) throw doesNotExist(`there is no schema "${name}"`);
      return { version: at, schema: kept[at - 1] };
    },
    publish: (schemas) => door.setSchemas(structuredClone(schemas)),
    log: (level) => logged.push(level),
  });
  const keep = (fields: Record<string, object>) => kept.push(dataSchema.parse({ fields }));
  const ask = (one: ServingVersion, value: number): string => {
    const x: Tensor = {
      name: 'x',
      datatype: 'FP32',
      shape: [1, 1],
      data: new Uint8Array(Float32Array.of(value).buffer),
    };
    try {
      door.check(one, { inputs: [x] } as unknown as InferRequest, {} as RequestContext);
      return 'let in';
    } catch (error) {
      return (error as Error).message;
    }
  };
  return { door, follower, keep, ask, logged, fail: () => (down = true) };
}

test('the door follows a kept schema, and leaves its columns that are no inputs out', async () => {
  const { follower, keep, ask } = setUp();
  const latest = version('{policy: reject, schema: {name: payments}}');
  const first = version('{policy: reject, schema: {name: payments, version: 1}}');
  keep({ x: { max: 10 }, label: { values: ['yes', 'no'] } });
  await follower.follow(table(latest, first));
  assert.equal(ask(latest, 5), 'let in');
  assert.match(ask(latest, 11), /'x' in row 0 is 11; at most 10 is allowed/);
  keep({ x: { max: 20 } });
  await follower.refresh();
  assert.equal(ask(latest, 11), 'let in');
  assert.match(ask(latest, 21), /at most 20 is allowed/);
  assert.match(ask(first, 11), /at most 10 is allowed/, 'a version that is named stays');
});

test('columns are renamed, and a rule of the model is before the schema’s', async () => {
  const { follower, keep, ask } = setUp();
  keep({ amount: { max: 10 }, x: { max: 1 } });
  const renamed = version(
    "{policy: reject, schema: {name: payments, columns: {'x[0]': amount}}, fields: {x: {min: 0}}}",
  );
  await follower.follow(table(renamed));
  assert.equal(ask(renamed, 5), 'let in');
  assert.match(ask(renamed, 11), /'x\[0\]' in row 0 is 11; at most 10/);
  assert.match(ask(renamed, -1), /at least 0 is allowed/);
});

test('a schema that is not there keeps requests out where they are to be checked, until it is kept', async () => {
  const { follower, keep, ask, logged } = setUp();
  const strict = version('{policy: reject, schema: {name: payments}}');
  const lenient = version('{policy: log, schema: {name: payments}}');
  assert.match(ask(strict, 1), /payments\/latest is not known yet/);
  await follower.follow(table(strict, lenient));
  assert.match(ask(strict, 1), /requests of model 'm' cannot be checked: schema payments\/latest: there is no schema/);
  assert.equal(ask(lenient, 1), 'let in');
  await follower.refresh();
  assert.deepEqual(logged, ['warn'], 'it is told once');
  keep({ x: { max: 10 } });
  await follower.refresh();
  assert.equal(ask(strict, 1), 'let in');
  assert.match(ask(strict, 11), /at most 10 is allowed/);
});

test('the last good schema holds while the registry is away', async () => {
  const { follower, keep, ask, fail } = setUp();
  const strict = version('{policy: reject, schema: {name: payments}}');
  keep({ x: { max: 10 } });
  await follower.follow(table(strict));
  fail();
  await follower.refresh();
  assert.equal(ask(strict, 1), 'let in');
  assert.match(ask(strict, 11), /at most 10 is allowed/);
});

test('neither fields nor a schema is refused', () => {
  assert.throws(() => readModelValidation('{policy: log}', 'v'), /name at least one, .* or a kept schema/);
  assert.throws(() => readModelValidation('{policy: log, schema: {name: a, version: 0}}', 'v'), /schema\.version/);
});
