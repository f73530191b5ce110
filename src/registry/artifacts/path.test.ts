import assert from 'node:assert/strict';
import { resolve, win32 } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkArtifactPath, pathOfUri, rootOf } from './path.ts';

const run = '0'.repeat(32);

test('takes the paths that clients use', () => {
  for (const path of [
    `0/${run}/artifacts/model/MLmodel`,
    `12/models/m-${run}/artifacts/code/a b.py`,
    'a',
    '100%',
    '50% off/x',
    'ünïcode/日本語.txt',
    '.hidden/..data',
    'console/null/auxiliary/com',
    'a:b/c:d'.slice(2),
    '__proto__/constructor',
    'x'.repeat(255),
  ])
    assert.equal(checkArtifactPath(path), path);
});

test('refuses everything that means something to a file system', () => {
  for (const path of [
    ...['', '/', '/etc/passwd', '//host/share', '..', '../x', 'a/../b', 'a/..', 'a/.', './a', 'a//b', 'a/'],
    ...['..\\x', 'a\\b', 'C:\\x', 'c:x', 'C:/x', 'file:/etc/passwd', 'file:///etc/passwd', 's3://bucket/x'],
    ...['%2e%2e/x', '..%2fx', '..%5cx', '%252e%252e%252fx', '%25252e%25252e/x', 'a%00b', '%2fetc', 'a%0ab'],
    ...['a\0b', 'a\nb', 'a\x7fb', 'a#b', 'a%23b', '\ud800', 'con', 'a/NUL', 'a/nul.txt', 'COM1', 'lpt9.log/x', 'aux'],
    ...['a.', 'a ', 'a./b', '... /x', 'x'.repeat(256), `${'x/'.repeat(600)}x`, 'é'.repeat(128)],
  ])
    assert.throws(() => checkArtifactPath(path), { registryCode: 'INVALID_PARAMETER_VALUE' }, path.slice(0, 60));
});

test('what passes stays inside any folder, on both kinds of systems, decoded or not', () => {
  const part = fc.oneof(
    fc.constantFrom('..', '.', '%2e%2e', '%2f', '%5c', '\\', 'C:', '%00', 'a', '%25'),
    fc.string({ unit: 'grapheme', maxLength: 5 }),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), fc.constantFrom('/', '%2f', '\\', ''), (parts, join) => {
      const path = parts.join(join);
      try {
        checkArtifactPath(path);
      } catch {
        return;
      }
      const decoded = path.replace(/%[0-9a-f]{2}/gi, (code) => String.fromCharCode(Number.parseInt(code.slice(1), 16)));
      for (const text of [path, decoded]) {
        assert.ok(resolve('/root/folder', text).startsWith('/root/folder/'), text);
        assert.ok(win32.resolve('D:\\folder', text).startsWith('D:\\folder\\'), text);
      }
    }),
    { numRuns: 5000 },
  );
});

test('finds the run, logged model or import that a path belongs to', () => {
  assert.deepEqual(rootOf(`0/${run}/artifacts/a`), { kind: 'run', id: run });
  assert.deepEqual(rootOf(`team/x/${run}/artifacts/a/artifacts/b`), { kind: 'run', id: run });
  assert.deepEqual(rootOf(`0/models/m-${run}/artifacts/a`), { kind: 'model', id: `m-${run}` });
  const id = '0b6a2c9e-3a3f-4d5e-8f1a-0123456789ab';
  assert.deepEqual(rootOf(`imports/${id}/artifacts/${run}/artifacts/b`), { kind: 'import', id });
  for (const path of [`imports/${id}/a`, `x/imports/${id}/artifacts/a`, 'imports/mine/artifacts/a'])
    assert.deepEqual(rootOf(path), { kind: 'other' });
  assert.deepEqual(rootOf('0/traces/tr-1/artifacts/a'), { kind: 'other' });
  assert.deepEqual(rootOf('artifacts/a'), { kind: 'other' });
});

test('reads the path out of a URI', () => {
  assert.equal(pathOfUri(`mlflow-artifacts:/0/${run}/artifacts`), `0/${run}/artifacts`);
  assert.equal(pathOfUri('mlflow-artifacts://host:80/0/x/'), '0/x');
  assert.equal(pathOfUri('s3://bucket/x'), undefined);
  assert.throws(() => pathOfUri('mlflow-artifacts:/../x'), { registryCode: 'INVALID_PARAMETER_VALUE' });
});
