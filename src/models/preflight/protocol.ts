import type { LoadSpec } from '../../backends/backend.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import type { PreflightReport } from '../loader.ts';

/** One message to the child, and its answers over the same channel. */
export interface PreflightOrder {
  backend: string;
  /** Absent: the process opens the backend's runtime, answers nothing, and waits for more. */
  spec?: LoadSpec;
}

export type PreflightMessage =
  /** Loaded; warm-up and checks begin. */
  | { type: 'checking' }
  | { type: 'passed'; report: PreflightReport }
  | { type: 'failed'; code: ErrorCode; message: string };
