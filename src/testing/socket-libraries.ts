import { native } from '../tensor/native.ts';

/** The libraries that serve HTTP here: all three, and where the addon is not in use those that need none. */
export const SOCKET_LIBRARIES: readonly ('native' | 'uws' | 'node')[] =
  native === undefined ? ['uws', 'node'] : ['native', 'uws', 'node'];
