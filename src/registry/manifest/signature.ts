import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { SwitchyardError } from '../../shared/errors.ts';
import { canonicalManifest, MANIFEST_TYPE, type Manifest, parseManifest } from './manifest.ts';

/** A DSSE envelope (the form in-toto and sigstore use) around a manifest's canonical bytes. */
export interface SignedManifest {
  payloadType: string;
  /** Base64 of the canonical manifest. */
  payload: string;
  signatures: readonly { keyid: string; sig: string }[];
}

export interface SigningKey {
  id: string;
  key: KeyObject;
}

/** Reads a PEM private key for signing. Throws failed_precondition unless it is an Ed25519 key. */
export function signingKey(pem: string | Buffer): SigningKey {
  const key = readKey('signing key', () => createPrivateKey(pem));
  return { id: keyId(createPublicKey(key)), key };
}

/** Reads a PEM public key that manifests may be signed with. Throws failed_precondition unless it is an Ed25519 key. */
export function trustedKey(pem: string | Buffer): SigningKey {
  const key = readKey('trusted key', () => createPublicKey(pem));
  return { id: keyId(key), key };
}

function readKey(what: string, read: () => KeyObject): KeyObject {
  let key: KeyObject;
  try {
    key = read();
  } catch {
    throw refused(`the ${what} is not a PEM key; make one with "openssl genpkey -algorithm ed25519"`);
  }
  if (key.asymmetricKeyType !== 'ed25519') throw refused(`the ${what} is ${key.asymmetricKeyType}; use ed25519`);
  return key;
}

/** A key names itself: nobody can give one key the name of another. */
function keyId(key: KeyObject): string {
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex')
    .slice(0, 16);
}

export function signManifest(manifest: Manifest, { id, key }: SigningKey): SignedManifest {
  const payload = canonicalManifest(manifest);
  const sig = sign(null, signedBytes(MANIFEST_TYPE, payload), key).toString('base64');
  return { payloadType: MANIFEST_TYPE, payload: payload.toString('base64'), signatures: [{ keyid: id, sig }] };
}

/** A manifest in the envelope of a signature that was made before. */
export function signedAs(manifest: Manifest, keyid: string, sig: string): SignedManifest {
  const payload = canonicalManifest(manifest).toString('base64');
  return { payloadType: MANIFEST_TYPE, payload, signatures: [{ keyid, sig }] };
}

/** What verifies the signatures of a signing key. */
export function publicPart({ id, key }: SigningKey): SigningKey {
  return { id, key: createPublicKey(key) };
}

/**
 * The manifest inside, once one of `trusted` has signed exactly these bytes. Throws failed_precondition otherwise. A
 * caller that wanted a certain version must also compare name and version: a genuine manifest of another one is a forgery.
 */
export function verifyManifest(
  signed: SignedManifest,
  trusted: readonly SigningKey[],
  wanted: { name: string; version: string },
): Manifest {
  if (signed.payloadType !== MANIFEST_TYPE) throw refused(`its payload is ${JSON.stringify(signed.payloadType)}`);
  const payload = Buffer.from(signed.payload, 'base64');
  const message = signedBytes(signed.payloadType, payload);
  // The envelope's key ids are only hints: each signature is tried with the key whose own id it names.
  const genuine = signed.signatures.some(({ keyid, sig }) =>
    trusted.some(({ id, key }) => id === keyid && verify(null, message, key, Buffer.from(sig, 'base64'))),
  );
  if (!genuine) {
    const names = signed.signatures.map(({ keyid }) => String(keyid).slice(0, 32)).join(', ') || 'none';
    throw refused(`no trusted key has signed it (signed by: ${names}; trusted: ${trusted.length} keys)`);
  }
  const manifest = parseManifest(payload);
  if (manifest.name !== wanted.name || manifest.version !== wanted.version) {
    throw refused(
      `it is signed for ${JSON.stringify(manifest.name)} version ${JSON.stringify(manifest.version)}, not for ${JSON.stringify(wanted.name)} version ${JSON.stringify(wanted.version)}`,
    );
  }
  return manifest;
}

/** DSSE's pre-authentication encoding: the type is signed too, so a signature is good for one purpose only. */
function signedBytes(type: string, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `), payload]);
}

function refused(problem: string): SwitchyardError {
  return new SwitchyardError('failed_precondition', `the manifest's signature is refused: ${problem}`);
}
