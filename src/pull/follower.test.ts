import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Resolution } from '../registry/serving/types.ts';
import { until } from '../testing/script-models.ts';
import { type FollowerParts, RegistryFollower } from './follower.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchyard-follower-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const naming = (version: string): Resolution => ({
  mark: version,
  deployments: [{ name: 'm', alias: 'champion', served: 'm', version, digest: `d${version}`, requirements: '' }],
  upcoming: [],
});

test('a version that is replaced goes only after routes have read where the alias points', async () => {
  let resolution = naming('1');
  let provided: string[] = [];
  const seen: string[] = [];
  let letGo = (): void => {};
  const source = {
    watch: async (_follow: unknown, mark: string) => {
      if (mark === resolution.mark) await sleep(20);
      return resolution;
    },
    report: async () => {},
  } as unknown as FollowerParts['source'];
  const follower = new RegistryFollower({
    source,
    store: {
      prepare: async ({ version }: { version: string }) => ({
        scanned: { version, directory: folder },
        config: { format: 'none' },
        files: [],
      }),
      keepOnly: async () => {},
    } as unknown as FollowerParts['store'],
    follow: { models: [], everyAlias: 'champion' },
    folder,
    keepVersions: 0,
    facts: () => assert.fail('there are no requirements'),
    provide: async (models) => {
      provided = [...(models.get('m')?.versions ?? [])].map(({ version }) => version).sort();
      seen.push(provided.join());
    },
    index: async () => [{ name: 'm', versions: provided.map((version) => ({ version, state: 'READY', reason: '' })) }],
    traffic: () => ({ routes: [], decisions: [] }),
    onMoved: () => {
      seen.push('moved');
      return seen.includes('1,2') ? new Promise<void>((resolve) => (letGo = resolve)) : Promise.resolve();
    },
    prove: async () => {},
    gateway: { gateway_id: 'g', host: 'h', program_version: '1', started_at: 1 },
    log: () => {},
  });
  await follower.restore();
  follower.start();
  await until('version 1', async () => provided.join() === '1');
  resolution = naming('2');
  await until(
    'both and the question',
    async () => seen.lastIndexOf('moved') > seen.indexOf('1,2') && seen.includes('1,2'),
  );
  assert.equal(provided.join(), '1,2', 'routes may still lead to the one before');
  letGo();
  await until('version 2 alone', async () => provided.join() === '2');
  await follower.stop();
});
