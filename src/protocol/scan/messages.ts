import type { ModelSignature } from '../../config/model-config.ts';
import type { InferRequest } from '../../pipeline/types.ts';
import type { ErrorCode } from '../../shared/errors.ts';

/** What the TypeScript twin is to make of a body. Plain data: it goes to the thread of scan/thread.ts. */
export type ScanForm =
  | { kind: 'infer'; model: string; version: string; jsonLength: number }
  | { kind: 'predict' | 'examples'; model: string; version: string; signature: ModelSignature };

/** What comes of it, for any form. `format` is of predict requests. */
export interface Scanned {
  request: InferRequest;
  format: 'row' | 'column';
}

/** One at a time. The body is lent (tensor/native.ts) from the order to the answer. */
export interface ScanOrder {
  loan: number;
  form: ScanForm;
}

export type ScanAnswer =
  /** `inBody`: of inputs whose bytes are the body's, where they begin in it and how many they are; their `data` is empty. */
  | { kind: 'scanned'; scanned: Scanned; inBody: ([at: number, length: number] | undefined)[] }
  /** `code` '': the error was none of ours. */
  | { kind: 'refused'; code: ErrorCode | ''; message: string; retryAfterMs: number | undefined }
  /** Memory of another thread cannot be read here. */
  | { kind: 'unread' };
