import type { RegistryDatabase } from '../database/database.ts';
import type { RegistryEvents } from '../events.ts';
import type { Resolver } from './resolve.ts';
import type { Follow, Resolution } from './types.ts';

/** Changes that another process on the same database makes are seen after this long. */
const LOOK_MS = 400;
/** Events that may change what a gateway should serve. */
const RELEVANT = /^(registered_model|model_version)/;

/**
 * Resolves when what should be served differs from `mark`, at the latest after `waitMs`. It does not miss a change that
 * happens while it looks. `signal` ends it early, with the last look.
 */
export async function watch(
  parts: { database: RegistryDatabase; events: RegistryEvents; resolver: Resolver },
  follow: Follow,
  mark: string,
  waitMs: number,
  signal: AbortSignal,
): Promise<Resolution> {
  const { database, events, resolver } = parts;
  const end = performance.now() + waitMs;
  let changed = true;
  let wake = (): void => {};
  const ring = (): void => wake();
  const unsubscribe = events.subscribe(({ type }) => {
    if (!RELEVANT.test(type)) return;
    changed = true;
    wake();
  });
  signal.addEventListener('abort', ring);
  try {
    let seen = '';
    while (true) {
      const look = changed || (await lastChange(database)) !== seen;
      const over = performance.now() >= end || signal.aborted;
      if (look || over) {
        changed = false;
        seen = await lastChange(database);
        const resolution = await resolver.resolve(follow);
        if (resolution.mark !== mark || over) return resolution;
      }
      if (changed) continue;
      // A file's only writer is this process, whose events say enough.
      const rest = database.kind === 'sqlite' ? Number.POSITIVE_INFINITY : LOOK_MS;
      await new Promise<void>((done) => {
        const timer = setTimeout(done, Math.max(0, Math.min(end - performance.now(), rest)));
        wake = () => {
          clearTimeout(timer);
          done();
        };
        if (signal.aborted) wake();
      });
    }
  } finally {
    unsubscribe();
    signal.removeEventListener('abort', ring);
  }
}

/**
 * Differs after every write that may change what a gateway should serve, in whatever order writes of several nodes commit:
 * each of them makes its model's time of update grow (`lockModel`).
 */
async function lastChange(database: RegistryDatabase): Promise<string> {
  if (database.kind === 'sqlite') return '';
  return database.read(async (db) => {
    const { models, times } = await db
      .selectFrom('registered_models')
      .select(({ fn }) => [fn.countAll().as('models'), fn.sum('last_updated_time').as('times')])
      .executeTakeFirstOrThrow();
    return JSON.stringify([models, times]);
  });
}
