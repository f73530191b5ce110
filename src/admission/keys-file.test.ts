import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ApiKeyConfig } from './admission-config.ts';
import { hashApiKey } from './api-keys.ts';
import { parseKeysFile, watchKeysFile } from './keys-file.ts';

const line = (tenant: string, key: string) => `- {tenant: ${tenant}, sha256: ${hashApiKey(key)}}\n`;

test('reads a list or an object with keys, YAML or JSON', () => {
  const expected = [{ tenant: 'acme', sha256: hashApiKey('k') }];
  assert.deepEqual(parseKeysFile(line('acme', 'k')), expected);
  assert.deepEqual(parseKeysFile(JSON.stringify({ keys: expected })), expected);
});

test('refuses what is no keys file, without quoting it', () => {
  for (const text of [
    '{',
    'keys: 3',
    '- 3',
    '- {tenant: a, sha256: zz}',
    '- {tenant: a, key: hunter2}',
    '- &a {}\n- *a',
  ]) {
    assert.throws(
      () => parseKeysFile(text),
      (error: Error) => !error.message.includes('hunter2'),
      text,
    );
  }
});

test('a changed file is read again, a broken one reported and skipped', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'keys-'));
  const path = join(folder, 'keys.yaml');
  await writeFile(path, line('acme', 'one'));
  const events: (ApiKeyConfig[] | Error)[] = [];
  let wake = () => {};
  const next = async (count: number) => {
    while (events.length < count) await new Promise<void>((resolve) => (wake = resolve));
  };
  const push = (event: ApiKeyConfig[] | Error) => {
    events.push(event);
    wake();
  };
  const watcher = watchKeysFile(path, push, push);
  try {
    await watcher.ready;
    await writeFile(path, line('acme', 'one') + line('acme', 'two'));
    await next(1);
    assert.equal((events[0] as ApiKeyConfig[]).length, 2);
    await writeFile(path, 'broken: [');
    await next(2);
    assert.ok(events[1] instanceof Error);
    await writeFile(join(folder, 'new'), line('acme', 'three'));
    await rename(join(folder, 'new'), path);
    await next(3);
    assert.equal((events[2] as ApiKeyConfig[])[0].sha256, hashApiKey('three'));
  } finally {
    await watcher.close();
    await rm(folder, { recursive: true });
  }
});
