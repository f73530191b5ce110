import { readFile } from 'node:fs/promises';
import { invalidArgument, SwitchyardError } from '../shared/errors.ts';
import { readContainer } from './encode/container-reader.ts';
import { readRecord } from './encode/record-decoder.ts';
import { payloadPath } from './payloads.ts';
import type { LogRecord } from './record.ts';

/**
 * The whole record whose values were kept by reference.
 * @param dir of the payloads
 * Rejects with invalid_argument for what is no SHA-256, and with not_found where it is not here, or not any more.
 */
export async function readPayload(dir: string, sha256: string): Promise<LogRecord> {
  const hex = sha256.replace(/^sha256:/, '');
  if (!/^[0-9a-f]{64}$/.test(hex))
    throw invalidArgument(`${JSON.stringify(sha256.slice(0, 100))} is no SHA-256 of 64 hexadecimal digits`);
  const bytes = await readFile(payloadPath(dir, hex)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    const message = `this server keeps no payload ${hex}; another gateway may, or eventLog.payloads.maxBytes took it`;
    throw new SwitchyardError('not_found', message);
  });
  const [record] = readContainer(bytes, (reader) => readRecord(reader));
  return record;
}
