import { z } from 'zod';
import { commit } from '../commit.ts';
import { doesNotExist, invalidParameter, RegistryError } from '../errors.ts';
import { required, text } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import { parseRequirements, REQUIREMENTS_TAG } from '../serving/requirements.ts';
import { whoAndWhy } from './alias-routes.ts';
import type { ModelsContext } from './context.ts';
import { approvalsOf, decide, evidenceOf, keepEvidence } from './decisions.ts';
import { pinnedManifest } from './files.ts';
import { findVersion } from './find.ts';
import { withoutKey } from './history.ts';
import { lineageOf, versionsFrom } from './lineage.ts';
import { keyBefore, keyPage, pageFields } from './pages.ts';
import { signVersion } from './signing.ts';
import { deleteVersionTag, setVersionTag } from './versions.ts';

const VERSION = '/api/v1/registry/models/{name}/versions/{version}';
const which = { name: required, version: required };

/** Approvals, gate evidence, deployment requirements and lineage of versions. */
export function decisionRoutes(context: ModelsContext): RestRoute[] {
  const { database } = context;
  return [
    jsonRoute({
      method: 'PUT',
      path: `${VERSION}/approval`,
      operationId: 'registryDecideApproval',
      summary: 'Approve or reject a version, or put it back to pending, with actor and reason',
      request: z.object({ ...which, state: z.enum(['Pending', 'Approved', 'Rejected']), reason: text, actor: text }),
      handle: ({ name, version, state, ...given }, caller) =>
        commit(context, async (db, at, note) => {
          const { actor, reason } = whoAndWhy(given, caller);
          if (state === 'Rejected' && reason.trim() === '')
            throw invalidParameter("Missing value for parameter 'reason': say why the version is rejected");
          const row = await decide(db, name, version, { state, at, actor, reason }, context.policy);
          // What was approved does not change by files that come later.
          if (state === 'Approved') await pinnedManifest(db, row, context.signingKey, note);
          const data = { name, version, state, actor, reason };
          note({ entity: 'model_version_approval', action: 'set', data });
          return { ...data, at };
        }),
    }),
    jsonRoute({
      method: 'GET',
      path: `${VERSION}/approval`,
      operationId: 'registryListApprovals',
      summary: "A version's approval and how it came about, newest first",
      request: z.object({ ...which, ...pageFields }),
      handle: ({ name, version, limit, page_token }) =>
        database.read(async (db) => {
          const row = await findVersion(db, name, version);
          const found = await approvalsOf(db, row, { before: keyBefore(page_token), limit: limit + 1 });
          const { rows, next } = keyPage(found, limit, (decision) => decision.approval_key);
          return { name, version, state: row.approval || null, decisions: rows.map(withoutKey), ...next };
        }),
    }),
    jsonRoute({
      method: 'POST',
      path: `${VERSION}/evidence`,
      operationId: 'registryAddEvidence',
      summary: 'Keep what a gate found out about a version',
      request: z.object({
        ...which,
        kind: z.string().min(1).max(200),
        outcome: z.enum(['pass', 'hold', 'fail']),
        detail: z.record(z.string(), z.unknown()).default({}),
        actor: text,
      }),
      maxBodyBytes: 1024 * 1024,
      handle: ({ name, version, kind, outcome, detail, actor: given }, caller) =>
        commit(context, async (db, at, note) => {
          const { actor } = whoAndWhy({ actor: given }, caller);
          await keepEvidence(db, name, version, { kind, outcome, detail, at, actor }, note);
          return { name, version, kind, outcome, actor, at };
        }),
    }),
    jsonRoute({
      method: 'GET',
      path: `${VERSION}/evidence`,
      operationId: 'registryListEvidence',
      summary: 'What gates found out about a version, newest first',
      request: z.object({ ...which, ...pageFields }),
      handle: ({ name, version, limit, page_token }) =>
        database.read(async (db) => {
          const row = await findVersion(db, name, version);
          const found = await evidenceOf(db, row, { before: keyBefore(page_token), limit: limit + 1 });
          const { rows, next } = keyPage(found, limit, (row) => row.evidence_key);
          return { evidence: rows.map(withoutKey), ...next };
        }),
    }),
    jsonRoute({
      method: 'PUT',
      path: `${VERSION}/requirements`,
      operationId: 'registrySetRequirements',
      summary: 'What a gateway must have to serve the version; an empty object removes it',
      request: z.object({ ...which, requirements: z.record(z.string(), z.unknown()) }),
      handle: ({ name, version, requirements }) =>
        commit(context, async (db, now, note) => {
          const value = JSON.stringify(requirements);
          const parsed = parseRequirements(value);
          const row = await findVersion(db, name, version);
          const empty = Object.keys(requirements).length === 0;
          if (empty) await deleteVersionTag(db, now, row, REQUIREMENTS_TAG);
          else await setVersionTag(db, now, row, { key: REQUIREMENTS_TAG, value });
          const action = empty ? 'deleted' : 'set';
          note({ entity: 'model_version_tag', action, data: { name, version, key: REQUIREMENTS_TAG, value } });
          return { name, version, requirements: parsed };
        }),
    }),
    jsonRoute({
      method: 'POST',
      path: `${VERSION}/signature`,
      operationId: 'registrySignVersion',
      summary: 'Sign what a version consists of now: for one that was registered without the key',
      request: z.object(which),
      handle: ({ name, version }) =>
        commit(context, async (db) => {
          const { signingKey } = context;
          if (signingKey === undefined)
            throw new RegistryError('INVALID_STATE', 'there is no key to sign with; set registry.signingKey');
          const signed = await signVersion(db, await findVersion(db, name, version), signingKey);
          if (signed !== undefined) return { name, version, key_id: signed.signatures[0].keyid };
          throw doesNotExist(`Model Version (name=${name}, version=${version}) has no files yet`);
        }),
    }),
    jsonRoute({
      method: 'GET',
      path: `${VERSION}/lineage`,
      operationId: 'registryLineage',
      summary:
        'Where a version comes from (run, commit, datasets) and what became of it (evidence, decisions, gateways, routes)',
      request: z.object(which),
      handle: ({ name, version }) =>
        database.read(async (db) => lineageOf(db, await findVersion(db, name, version)) as Promise<object>),
    }),
    jsonRoute({
      method: 'GET',
      path: '/api/v1/registry/lineage',
      operationId: 'registryVersionsFrom',
      summary: 'The versions that came from a Git commit or a dataset, newest first',
      request: z.object({ commit: text, dataset: text, limit: pageFields.limit }),
      handle: ({ commit: gitCommit, dataset, limit }) =>
        database.read(async (db) => ({
          versions: await versionsFrom(db, { commit: gitCommit ?? '', dataset: dataset ?? '' }, limit),
        })),
    }),
  ];
}
