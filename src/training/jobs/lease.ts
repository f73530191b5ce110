import { hostname } from 'node:os';
import { sql } from 'kysely';
import type { Db, RegistryDatabase } from '../../registry/database/database.ts';
import { monotonicMs } from '../../shared/clock.ts';

const NAME = 'jobs';

/**
 * Which of several servers on one database starts jobs. The lease's token grows with each change of holder; a write that
 * checks it (`require`) fails when another server has been leading since, however late it arrives.
 */
export class Lease {
  readonly serverId: string;
  private readonly database: RegistryDatabase;
  private readonly leaseMs: number;
  private token = 0;
  private until = Number.NEGATIVE_INFINITY;

  constructor(database: RegistryDatabase, serverId: string, leaseMs: number) {
    this.database = database;
    this.serverId = serverId;
    this.leaseMs = leaseMs;
  }

  leading(): boolean {
    return monotonicMs() < this.until;
  }

  /** Takes or renews the lease if it can be had, and says that this server lives. Rejects when the database is away. */
  async renew(): Promise<void> {
    const asked = monotonicMs();
    const { serverId, leaseMs } = this;
    const token = await this.database.write(async (db) => {
      const now = this.time();
      await db
        .insertInto('training_servers')
        .values({ server_id: serverId, host: hostname(), last_seen: now })
        .onConflict((conflict) => conflict.column('server_id').doUpdateSet({ last_seen: now, host: hostname() }))
        .execute();
      const { rows } = await sql<{ token: number }>`
        INSERT INTO training_leases (name, holder, token, until_time) VALUES (${NAME}, ${serverId}, 1, ${now} + ${leaseMs})
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_time = excluded.until_time,
          token = CASE WHEN training_leases.holder = excluded.holder THEN training_leases.token
            ELSE training_leases.token + 1 END
        WHERE training_leases.holder = excluded.holder OR training_leases.until_time < ${now}
        RETURNING token`.execute(db);
      return rows[0]?.token ?? 0;
    });
    this.token = token;
    // Ends here before it ends there.
    this.until = token === 0 ? Number.NEGATIVE_INFINITY : asked + this.leaseMs * 0.8;
  }

  /** To be called in a write that only the leader may make. Throws when this server is not it any more. */
  async require(db: Db): Promise<void> {
    let query = db.selectFrom('training_leases').select(['holder', 'token']).where('name', '=', NAME);
    if (this.database.kind === 'postgres') query = query.forShare();
    const row = await query.executeTakeFirst();
    if (row?.holder === this.serverId && row.token === this.token) return;
    this.until = Number.NEGATIVE_INFINITY;
    throw new Error('another server has become the leader');
  }

  /** Servers that have not been heard of for `ms`. */
  async away(ms: number): Promise<Set<string>> {
    const rows = await this.database.read((db) =>
      db
        .selectFrom('training_servers')
        .select('server_id')
        .where('server_id', '!=', this.serverId)
        .where(sql<boolean>`last_seen < ${this.time()} - ${ms}`)
        .execute(),
    );
    return new Set(rows.map(({ server_id }) => server_id));
  }

  /** Makes place at once. */
  async release(): Promise<void> {
    if (this.token === 0) return;
    this.until = Number.NEGATIVE_INFINITY;
    await this.database.write((db) =>
      db
        .updateTable('training_leases')
        .set({ until_time: 0 })
        .where('holder', '=', this.serverId)
        .where('token', '=', this.token)
        .execute(),
    );
  }

  /** Servers' clocks differ; the shared database's is one. */
  private time() {
    if (this.database.kind === 'sqlite') return sql<number>`${Date.now()}`;
    return sql<number>`(extract(epoch from clock_timestamp()) * 1000)::bigint`;
  }
}
