import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { digestOf, expectedDigest, hexOf, isDigest } from './digest.ts';

const sha = createHash('sha256').update('hello').digest();
const digest = digestOf(sha);
const header = (fields: Record<string, string>) => (name: string) => fields[name] ?? '';

test('reads every form in which a client may promise a digest', () => {
  const cases: Record<string, string>[] = [
    { 'x-content-sha256': sha.toString('hex') },
    { 'x-content-sha256': sha.toString('hex').toUpperCase() },
    { 'x-content-sha256': digest },
    { digest: `sha-256=${sha.toString('base64')}` },
    { digest: `md5=abc, SHA-256=${sha.toString('base64')}` },
    { 'content-digest': `sha-256=:${sha.toString('base64')}:` },
    { 'repr-digest': `sha-512=:AAAA:, sha-256=:${sha.toString('base64')}:` },
  ];
  for (const fields of cases) {
    assert.equal(expectedDigest(header(fields)), digest, JSON.stringify(fields));
  }
  assert.equal(expectedDigest(header({})), undefined);
  assert.equal(expectedDigest(header({ digest: 'md5=rL0Y20zC+Fzt72VPzMSk2A==' })), undefined);
});

test('refuses promises it cannot read, and contradictions', () => {
  const cases: Record<string, string>[] = [
    { 'x-content-sha256': 'abc' },
    { digest: 'sha-256=abc' },
    { digest: 'sha-256' },
    { 'content-digest': `sha-256=:${Buffer.alloc(31).toString('base64')}:` },
    { 'x-content-sha256': '0'.repeat(64), digest: `sha-256=${sha.toString('base64')}` },
  ];
  for (const fields of cases) {
    assert.throws(() => expectedDigest(header(fields)), { code: 'invalid_argument' }, JSON.stringify(fields));
  }
});

test('no text but a digest becomes a file name', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      if (!isDigest(text)) assert.throws(() => hexOf(text), { code: 'invalid_argument' });
    }),
  );
  assert.match(hexOf(digest), /^[0-9a-f]{64}$/);
  for (const text of [`${digest}\n`, `${digest}/..`, digest.toUpperCase()])
    assert.throws(() => hexOf(text), { code: 'invalid_argument' });
});
