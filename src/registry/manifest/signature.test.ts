import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Digest } from '../blobs/digest.ts';
import { canonicalManifest, type ManifestFile, makeManifest, manifestDigest, parseManifest } from './manifest.ts';
import { type SignedManifest, signingKey, signManifest, trustedKey, verifyManifest } from './signature.ts';

function keyPair() {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    signing: signingKey(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    trusted: trustedKey(publicKey.export({ type: 'spki', format: 'pem' })),
  };
}

const file = (path: string, digit = '1', size = 5): ManifestFile => ({
  path,
  digest: `sha256:${digit.repeat(64)}` as Digest,
  size,
  mediaType: 'application/octet-stream',
});
const manifest = makeManifest('iris', '3', [file('model.onnx', 'a'), file('MLmodel', 'b')]);
const wanted = { name: 'iris', version: '3' };
const ours = keyPair();
const theirs = keyPair();

test('a signed manifest verifies with its key, among others', () => {
  const signed = signManifest(manifest, ours.signing);
  assert.deepEqual(verifyManifest(signed, [theirs.trusted, ours.trusted], wanted), manifest);
  assert.equal(ours.signing.id, ours.trusted.id);
});

test('refuses a foreign key, no key, no signature, and the signature of another manifest', () => {
  const signed = signManifest(manifest, ours.signing);
  const other = signManifest(makeManifest('iris', '3', [file('evil.onnx')]), ours.signing);
  const renamed = {
    ...signed,
    signatures: [{ ...signManifest(manifest, theirs.signing).signatures[0], keyid: ours.trusted.id }],
  };
  const cases: [SignedManifest, (typeof ours.trusted)[]][] = [
    [signed, [theirs.trusted]],
    [signed, []],
    [{ ...signed, signatures: [] }, [ours.trusted]],
    [{ ...signed, signatures: other.signatures }, [ours.trusted]],
    [{ ...signed, payloadType: 'application/json' }, [ours.trusted]],
    [renamed, [ours.trusted]],
  ];
  for (const [envelope, keys] of cases)
    assert.throws(() => verifyManifest(envelope, keys, wanted), { code: 'failed_precondition' });
});

test('a genuine manifest of another version is no manifest of this one', () => {
  const signed = signManifest(manifest, ours.signing);
  for (const other of [
    { name: 'iris', version: '4' },
    { name: 'rose', version: '3' },
  ])
    assert.throws(() => verifyManifest(signed, [ours.trusted], other), /signed for "iris" version "3"/);
});

test('any changed byte of payload or signature is noticed', () => {
  const signed = signManifest(manifest, ours.signing);
  const flip = (text: string, bit: number): string => {
    const bytes = Buffer.from(text, 'base64');
    bytes[Math.floor(bit / 8) % bytes.length] ^= 1 << (bit % 8);
    return bytes.toString('base64');
  };
  fc.assert(
    fc.property(fc.nat(100_000), fc.boolean(), (bit, inPayload) => {
      const forged = inPayload
        ? { ...signed, payload: flip(signed.payload, bit) }
        : { ...signed, signatures: [{ ...signed.signatures[0], sig: flip(signed.signatures[0].sig, bit) }] };
      assert.throws(() => verifyManifest(forged, [ours.trusted], wanted), { code: 'failed_precondition' });
    }),
  );
});

test('a signed text that is not canonical, or leads out of its folder, is refused all the same', () => {
  const text = canonicalManifest(manifest).toString();
  for (const forged of [
    ` ${text}`,
    text.replace('{', '{"a":1,'),
    text.replace('"model.onnx"', '"../model.onnx"'),
    text.replace('"model.onnx"', '"/model.onnx"'),
    text.replace('"model.onnx"', '"C:model.onnx"'),
    text.replace('"model.onnx"', '"a\\\\b"'),
    text.replace('"MLmodel"', '"model.onnx"'),
    text.replace('"size":5', '"size":-1'),
    text.replace('"size":5', '"size":1e300'),
    text.replace('sha256:a', 'sha256:A'),
    'null',
    '[]',
    '{',
  ])
    assert.throws(() => parseManifest(Buffer.from(forged)), { code: 'failed_precondition' }, forged);
  assert.deepEqual(parseManifest(Buffer.from(text)), manifest);
});

test('the digest does not depend on the order in which files were given', () => {
  const files = ['z', 'a/b', 'a', 'ä', '𝒳', '\uffee', 'B'].map((path) => file(path));
  fc.assert(
    fc.property(fc.shuffledSubarray(files, { minLength: files.length }), (shuffled) => {
      assert.equal(manifestDigest(makeManifest('m', '1', shuffled)), manifestDigest(makeManifest('m', '1', files)));
    }),
  );
});

test('takes no keys but Ed25519', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  assert.throws(() => signingKey(privateKey.export({ type: 'pkcs8', format: 'pem' })), { code: 'failed_precondition' });
  assert.throws(() => trustedKey(publicKey.export({ type: 'spki', format: 'pem' })), { code: 'failed_precondition' });
  assert.throws(() => signingKey('no key'), { code: 'failed_precondition' });
});
