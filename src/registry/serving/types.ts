import type { SignedManifest } from '../manifest/signature.ts';

/** What one gateway wants to serve. */
export interface Follow {
  models: readonly FollowedModel[];
  /** Every model that has this alias is served under its own name; '' = only `models`. */
  everyAlias: string;
}

export interface FollowedModel {
  name: string;
  alias: string;
  /** The name it is served under. */
  served: string;
}

/** One version that a gateway should serve now. */
export interface Deployment extends FollowedModel {
  version: string;
  /** Of the version's manifest: what it consists of. '' = it has no files. */
  digest: string;
  /** The version's requirements as they were written; '' = none. */
  requirements: string;
}

/** What a gateway should serve now, and a mark by which it can wait for a change. */
export interface Resolution {
  mark: string;
  deployments: readonly Deployment[];
  /** Newest versions that no followed alias points to yet: worth having at hand when one moves. */
  upcoming: readonly Deployment[];
}

/** A version's manifest: in canonical form, with the signature that was made when it was fixed, if there was a key. */
export interface VersionManifest {
  digest: string;
  /** Base64 of the canonical bytes. */
  manifest: string;
  signed?: SignedManifest;
}

/** What a gateway tells about itself. */
export interface GatewayReport {
  gateway_id: string;
  host: string;
  program_version: string;
  started_at: number;
  models: readonly GatewayModel[];
  /** The versions that its routes lead to now. */
  routes: readonly ReportedRoute[];
  /** What its routes decided since it was started. */
  decisions: readonly ReportedDecisions[];
}

export interface ReportedRoute {
  name: string;
  version: string;
  route: string;
  variant: string;
}

export interface ReportedDecisions extends ReportedRoute {
  /** The variant's part in the analysis: stable, control, candidate or arm. */
  role: string;
  requests: number;
  /** Of these, answered with 500 and above. */
  errors: number;
  first_at: number;
  last_at: number;
}

export interface GatewayModel {
  served: string;
  name: string;
  alias: string;
  version: string;
  digest: string;
  /** As in the repository index: READY, LOADING, UNAVAILABLE, … */
  state: string;
  /** Why it is not ready; '' = it is. */
  problem: string;
}

/** A gateway that reports less often than this is away. */
export const AWAY_MS = 30_000;
