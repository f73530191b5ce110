import type { Readable } from 'node:stream';
import type { Follow, GatewayReport, Resolution, VersionManifest } from '../registry/serving/types.ts';

/** The registry as a gateway sees it: in this process, or far away. Every call may reject; the caller tries again. */
export interface RegistrySource {
  /** Resolves when what to serve differs from `mark`, or after a while. '' as mark: at once. */
  watch(follow: Follow, mark: string, signal: AbortSignal): Promise<Resolution>;
  manifest(name: string, version: string): Promise<VersionManifest>;
  blob(digest: string): Promise<Readable>;
  report(report: GatewayReport): Promise<void>;
}
