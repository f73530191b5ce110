import { join } from 'node:path';
import { FileBlobStore } from '../blobs/file-store.ts';
import type { S3Options } from '../blobs/s3-store.ts';
import { Staging } from '../blobs/staging.ts';
import type { BlobStore } from '../blobs/store.ts';
import { BlobVault } from '../blobs/vault.ts';
import type { RegistryDatabase } from '../database/database.ts';
import type { RestRoute } from '../rest/route.ts';
import { Artifacts } from './artifacts.ts';
import { GarbageCollector } from './collect.ts';
import { collectRoutes } from './collect-routes.ts';
import { artifactRoutes } from './routes.ts';
import { uploadRoutes } from './upload-routes.ts';
import { Uploads } from './uploads.ts';

export interface StorageSettings {
  /** Largest upload. */
  maxBytes: number;
  /** Absent: files below the data folder. */
  s3?: S3Options | undefined;
  collect: { graceHours: number; deletedDays: number; everyHours: number };
}

export const DEFAULT_STORAGE: StorageSettings = {
  maxBytes: 64 * 1024 ** 3,
  collect: { graceHours: 24, deletedDays: 30, everyHours: 24 },
};

export interface Storage {
  vault: BlobVault;
  artifacts: Artifacts;
  uploads: Uploads;
  collector: GarbageCollector;
  routes: RestRoute[];
  close(): Promise<void>;
}

interface Parts {
  /** The registry's own folder. */
  folder: string;
  database: RegistryDatabase;
  now: () => number;
  onError(error: unknown, message: string): void;
}

/** Everything around blobs and artifacts, wired. Uploads are staged below `folder` with either store. */
export async function openStorage(settings: StorageSettings, parts: Parts): Promise<Storage> {
  const { database, now } = parts;
  const staging = await Staging.open(join(parts.folder, 'staging'));
  const { store, closeStore } = await openStore(settings, parts.folder);
  const vault = new BlobVault({ store, staging, database, now });
  const artifacts = new Artifacts({ database, vault, now, maxBytes: settings.maxBytes });
  const uploads = new Uploads({ database, staging, artifacts, now });
  const collector = new GarbageCollector({ database, vault, uploads, now });
  const { graceHours, deletedDays, everyHours } = settings.collect;
  const graceMs = graceHours * 3_600_000;
  const age = { graceMs, deletedMs: Math.max(graceMs, deletedDays * 86_400_000) };
  const collect = (): void => {
    collector
      .collect({ ...age, dryRun: false })
      .catch((error: unknown) => parts.onError(error, 'garbage collection of the registry failed'));
  };
  // Timers hold at most 24.8 days.
  const timer = everyHours > 0 ? setInterval(collect, Math.min(everyHours * 3_600_000, 2 ** 31 - 1)) : undefined;
  timer?.unref();
  return {
    vault,
    artifacts,
    uploads,
    collector,
    routes: [
      ...artifactRoutes({ artifacts, vault, database }),
      ...uploadRoutes(uploads),
      ...collectRoutes(collector, age),
    ],
    close: async () => {
      clearInterval(timer);
      await uploads.close();
      closeStore();
    },
  };
}

async function openStore(
  { s3 }: StorageSettings,
  folder: string,
): Promise<{ store: BlobStore; closeStore: () => void }> {
  if (s3 === undefined) return { store: await FileBlobStore.open(join(folder, 'blobs')), closeStore: () => {} };
  const { S3BlobStore } = await import('../blobs/s3-store.ts');
  const store = new S3BlobStore(s3);
  return { store, closeStore: () => store.close() };
}
