import { availableParallelism } from 'node:os';

/** How many cores the process may use: counted at its start, before its threads are put on some of them. */
export const USABLE_CORES = availableParallelism();
