import type { Readable } from 'node:stream';
import { isDigest } from '../blobs/digest.ts';
import type { BlobVault } from '../blobs/vault.ts';
import { commit } from '../commit.ts';
import { doesNotExist, shown } from '../errors.ts';
import { canonicalManifest, manifestDigest } from '../manifest/manifest.ts';
import type { ModelsContext } from '../models/context.ts';
import { fixedVersion } from '../models/files.ts';
import { signedManifest } from '../models/signatures.ts';
import { recordReport } from './gateways.ts';
import { Resolver } from './resolve.ts';
import type { Follow, GatewayReport, Resolution, VersionManifest } from './types.ts';
import { watch } from './watch.ts';

export interface ServingContext {
  models: ModelsContext;
  vault: BlobVault;
  /** Ends waiting gateways when the server stops. */
  closing: AbortSignal;
}

/** What gateways ask and tell: what to serve, what it consists of, what they serve. */
export interface Serving {
  watch(follow: Follow, mark: string, waitMs: number, signal: AbortSignal): Promise<Resolution>;
  /** Throws RESOURCE_DOES_NOT_EXIST for a version without files. */
  manifest(name: string, version: string): Promise<VersionManifest>;
  /** The bytes of a digest. Throws RESOURCE_DOES_NOT_EXIST. */
  blob(digest: string): Promise<{ size: number; open(): Promise<Readable> }>;
  report(report: GatewayReport): Promise<void>;
}

export function createServing(context: ServingContext): Serving {
  const { models, vault, closing } = context;
  const { database, events } = models;
  const resolver = new Resolver(database);
  return {
    watch: (follow, mark, waitMs, signal) =>
      watch({ database, events, resolver }, follow, mark, waitMs, AbortSignal.any([signal, closing])),
    manifest: async (name, version) => {
      const { row, manifest } = await fixedVersion(models, name, version);
      if (manifest === undefined)
        throw doesNotExist(
          `Model Version (name=${name}, version=${version}) has no files yet; upload them to its source`,
        );
      const signed = await database.read((db) => signedManifest(db, row, manifest));
      return {
        digest: manifestDigest(manifest),
        manifest: canonicalManifest(manifest).toString('base64'),
        ...(signed === undefined ? {} : { signed }),
      };
    },
    blob: async (digest) => {
      const known = await database.read((db) =>
        db
          .selectFrom('blobs')
          .select('size')
          .where('digest', '=', digest)
          .where('deleting_time', 'is', null)
          .executeTakeFirst(),
      );
      if (known === undefined || !isDigest(digest)) throw doesNotExist(`No blob has the digest ${shown(digest)}`);
      return { size: known.size, open: () => vault.open(digest) };
    },
    report: (report) =>
      commit(models, async (db, now, note) => {
        const { gateway_id, host, program_version } = report;
        const known = await db
          .selectFrom('gateways')
          .select('gateway_id')
          .where('gateway_id', '=', gateway_id)
          .executeTakeFirst();
        for (const { served, name, version, state, problem } of await recordReport(db, report, now)) {
          const data = { gateway_id, served, name, version, state, problem };
          note({ entity: 'gateway', action: 'updated', data });
        }
        if (known === undefined)
          note({ entity: 'gateway', action: 'created', data: { gateway_id, host, program_version } });
      }),
  };
}
