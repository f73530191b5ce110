import assert from 'node:assert/strict';
import { test as nodeTest } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { SwitchyardError } from '../../shared/errors.ts';
import { type NativeLoans, native, nativeProblem } from '../../tensor/native.ts';
import { plainTensors } from '../../testing/plain-tensors.ts';
import { scanInferRequest } from '../v2/json-scanner.ts';
import { MOST_WAITING, ScanBeside, type ScanListener } from './beside.ts';
import type { ScanForm } from './messages.ts';

const FORM: ScanForm = { kind: 'infer', model: 'm', version: '1', jsonLength: -1 };

/** Without the addon there is no thread beside; SWITCHYARD_NATIVE=on makes that an error. */
function test(name: string, body: () => Promise<void>): void {
  nodeTest(name, { skip: native === undefined && (nativeProblem || 'SWITCHYARD_NATIVE=off') }, body);
}

const input = (name: string, count: number, more = ''): string =>
  `{"name":"${name}","shape":[${count}],"datatype":"FP32"${more},"data":[${Array.from({ length: count }, (_, i) => i / 8)}]}`;

const bodyOf = (inputs: readonly string[], more = ''): Uint8Array => Buffer.from(`{"inputs":[${inputs}]${more}}`);

/** An error at the end of so many numbers. */
const bad = (count: number): Uint8Array => bodyOf([input('x', count).replace(/.]}$/, 'x]}')]);

const silent: ScanListener = { wanted: () => true, onScanned: () => {}, onRefused: () => {}, onUnread: () => {} };

/** What is heard of a body. */
function heard(scans: ScanBeside, body: Uint8Array, form: ScanForm = FORM): Promise<unknown> {
  return new Promise((resolve) => {
    scans.read(body, form, {
      wanted: () => true,
      onScanned: ({ request }) => resolve({ ...request, inputs: plainTensors(request.inputs) }),
      onRefused: resolve,
      onUnread: () => resolve('unread'),
    });
  });
}

test('what the twin makes of a body comes out, small tensors, large ones, and those in the body', async () => {
  const many = Array.from({ length: 80 }, (_, i) => input(`i${i}`, i % 3 === 0 ? 3000 : 30));
  const binary = '{"name":"b","shape":[3],"datatype":"UINT8","parameters":{"binary_data_size":3}}';
  const json = bodyOf([...many, binary], ',"id":"é","parameters":{"a":1,"b":true,"big":123456789012345678}');
  const form: ScanForm = { ...FORM, jsonLength: json.length };
  // Not at the start of its buffer.
  const body = Buffer.concat([Buffer.from('head'), json, Buffer.from([1, 2, 3])]).subarray(4);
  const got = (await heard(new ScanBeside(native!), body, form)) as { inputs: { data: Uint8Array }[] };
  const expected = scanInferRequest('m', '1', body, json.length);
  assert.deepEqual(got, { ...expected, inputs: plainTensors(expected.inputs) });
  assert.deepEqual([...got.inputs[80].data], [1, 2, 3]);
});

test('the loop goes on while a body is read, and hears the error that the twin throws', async () => {
  const scans = new ScanBeside(native!);
  const body = bad(400_000);
  let error: unknown;
  void heard(scans, body).then((refusal) => {
    error = refusal;
  });
  let answered = 0;
  while (error === undefined) {
    await setImmediate();
    scanInferRequest('m', '1', bodyOf([input('x', 3)]), -1);
    answered++;
  }
  assert.ok(answered > 10, `${answered} other requests were read meanwhile`);
  assert.throws(() => scanInferRequest('m', '1', body, -1), error as Error);
  assert.equal((error as SwitchyardError).code, 'invalid_argument');
});

test('of a burst one is read at a time, in order, those without a client are left out, and too many are refused at once', async () => {
  let out = 0;
  let most = 0;
  const counted: NativeLoans = {
    lend: (body) => {
      most = Math.max(most, ++out);
      return native!.lend(body);
    },
    takeBack: (loan) => {
      out--;
      native!.takeBack(loan);
    },
    borrow: (loan) => native!.borrow(loan),
    giveBack: (buffer) => native!.giveBack(buffer),
  };
  const scans = new ScanBeside(counted);
  const body = bad(20_000);
  const order: number[] = [];
  const gone = new Set<number>();
  // The first is under way, the others wait.
  const all = Array.from({ length: 1 + MOST_WAITING }, (_, i) => {
    const listener: ScanListener = { ...silent, wanted: () => !gone.has(i) };
    return new Promise<void>((resolve) => {
      scans.read(body, FORM, {
        ...listener,
        onRefused: () => {
          order.push(i);
          resolve();
        },
      });
    });
  });
  const refused = (await heard(scans, body)) as SwitchyardError;
  assert.equal(refused.code, 'overloaded');
  assert.ok(refused.retryAfterMs! > 0);
  assert.deepEqual(order, [], 'at once');
  gone.add(5);
  const last = heard(scans, body).then((error) => assert.equal((error as SwitchyardError).code, 'invalid_argument'));
  await Promise.all([...all.filter((_, i) => i !== 5), last]);
  assert.deepEqual(
    order,
    Array.from({ length: 1 + MOST_WAITING }, (_, i) => i).filter((i) => i !== 5),
  );
  assert.equal(most, 1);
  assert.equal(out, 0, 'all that was lent is back');
});

test('where memory cannot be lent, or not be read by another thread, the caller reads it', async () => {
  const nothing: NativeLoans = { lend: () => 0, takeBack: () => {}, borrow: () => undefined, giveBack: () => {} };
  assert.equal(await heard(new ScanBeside(nothing), bad(10)), 'unread');
  const unknown: NativeLoans = { ...nothing, lend: () => 0x7fffffff };
  assert.equal(await heard(new ScanBeside(unknown), bad(10)), 'unread');
});

test('what is lent is the very memory, until it is given back, and only who lent it takes it back', async () => {
  const body = Buffer.from('lent');
  const loan = native!.lend(body);
  const lent = native!.borrow(loan)!;
  body[0] = 0x72;
  assert.equal(Buffer.from(lent).toString(), 'rent');
  native!.giveBack(lent);
  assert.equal(lent.byteLength, 0);
  assert.equal(body.toString(), 'rent');
  native!.takeBack(loan);
  native!.takeBack(loan);
  assert.equal(native!.borrow(loan), undefined);
  assert.equal(native!.lend(new Uint8Array(0)), 0);
  assert.throws(() => native!.lend('text' as never), TypeError);
});
