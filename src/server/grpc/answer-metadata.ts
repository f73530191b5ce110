import type { OutgoingHttpHeaders } from 'node:http2';
import type { Served } from '../../pipeline/types.ts';
import { printIdNumber } from '../../shared/ids.ts';
import { writeHeaders } from './native-text.ts';

const NOTHING = new Uint8Array(0);
/** Of an id's number, and the NUL behind it. */
const NUMBER_BYTES = 12;

/** What an answer's initial metadata say of who gave it. The id comes last. */
export function metadataOf({ id, variant, version, anomalies }: Served): OutgoingHttpHeaders {
  const metadata: Record<string, string> = {};
  if (variant !== '') metadata['x-switchyard-variant'] = variant;
  if (version !== '') metadata['x-switchyard-version'] = version;
  if (anomalies !== undefined) metadata['x-switchyard-anomalies'] = anomalies;
  if (id !== '') metadata['x-switchyard-id'] = id;
  return metadata;
}

interface Shared {
  version: string;
  prefix: string;
  /** Up to the id's number. */
  bytes: Uint8Array;
}

/**
 * The same as bytes for the addon, name NUL value NUL …: answers of a variant differ in the id's number alone, so the rest
 * is kept, and neither the id nor the metadata become texts or objects.
 */
export class AnswerMetadata {
  /** By variant: names from route files, and ''. */
  private readonly known = new Map<string, Shared>();
  private bytes: Uint8Array = NOTHING;
  private number: number | undefined;

  /** How many bytes `print` takes at most for this answer. */
  begin(served: Served | undefined): number {
    this.number = undefined;
    if (served === undefined) this.bytes = NOTHING;
    else if (served.ids === undefined || served.number === undefined || served.anomalies !== undefined)
      this.bytes = Buffer.from(writeHeaders(metadataOf(served)), 'latin1');
    else {
      this.bytes = this.sharedBy(served.variant, served.version, served.ids.prefix);
      this.number = served.number;
    }
    return this.bytes.length + NUMBER_BYTES;
  }

  /** Prints what was begun to `out` from byte `start` on; returns where it ends. */
  print(out: Uint8Array, start: number): number {
    const { bytes, number } = this;
    out.set(bytes, start);
    const end = start + bytes.length;
    if (number === undefined) return end;
    const digits = printIdNumber(out, end, number);
    out[digits] = 0;
    return digits + 1;
  }

  private sharedBy(variant: string, version: string, prefix: string): Uint8Array {
    const known = this.known.get(variant);
    if (known !== undefined && known.version === version && known.prefix === prefix) return known.bytes;
    const text = writeHeaders(metadataOf({ variant, version, id: prefix }));
    const bytes = Buffer.from(text.slice(0, -1), 'latin1');
    this.known.set(variant, { version, prefix, bytes });
    return bytes;
  }
}
