import { ERROR_TABLE } from '../../shared/errors.ts';

/** Status in a record of the ring: 0 is ok, the rest are the error table's codes in their order. */
export const STATUSES: readonly string[] = ['ok', ...Object.keys(ERROR_TABLE)];
