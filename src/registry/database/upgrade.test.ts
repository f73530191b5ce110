import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Kysely, SqliteDialect } from 'kysely';
import Database from 'libsql';
import { checkUpgraded, makeOlderRegistry } from '../../testing/older-registry.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';

test('what an earlier program stored is there after the upgrade, and goes on', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'registry-upgrade-'));
  mkdirSync(join(dataDir, 'registry'));
  const raw = new Database(join(dataDir, 'registry', 'registry.db'));
  const database = raw as unknown as ConstructorParameters<typeof SqliteDialect>[0]['database'];
  await makeOlderRegistry(new Kysely<never>({ dialect: new SqliteDialect({ database }) }), 'sqlite', dataDir);
  raw.close();
  const registry = await RegistryUnderTest.open('sqlite', dataDir);
  await checkUpgraded(registry);
  await registry.close();
});
