import { z } from 'zod';
import { sslSchema } from './ssl-schema.ts';

const alias = z.string().regex(/^[\w-]{1,255}$/, 'allowed: 1 to 255 letters, digits, "_" and "-"');

const followed = z.strictObject({
  name: z.string().min(1).describe('Registered model'),
  alias: alias.default('champion'),
  served: z
    .string()
    .regex(/^[A-Za-z0-9][\w.-]{0,127}$/, 'allowed: 1 to 128 letters, digits, "_", "." and "-", a letter or digit first')
    .optional()
    .describe('Name it is served under; default: its own'),
});

/** `models.registry`: which registered models a gateway serves, and from where. */
export const pullSchema = z
  .strictObject({
    url: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe("Admin address of the registry's server; absent: the registry of this process"),
    token: z
      .string()
      .optional()
      .describe('Token of that server: one of its server.gatewayTokens. Taken anew without a restart'),
    ssl: sslSchema.optional().describe('TLS to an https url; the client certificate is for a server that requires one'),
    follow: z
      .array(followed)
      .default([])
      .describe('Models to serve, each by one alias; empty: every model with `alias`'),
    alias: alias.default('champion').describe('With an empty `follow`: every model that has it is served'),
    keepVersions: z.number().int().min(0).max(100).default(3).describe('Earlier versions per model that stay on disk'),
    trustedKeys: z
      .array(z.string())
      .default([])
      .describe(
        'PEM files of Ed25519 public keys; one must have signed every version. Empty: signatures are not asked for',
      ),
    gatewayId: z
      .string()
      .regex(/^[A-Za-z0-9][\w.:-]{0,127}$/, 'allowed: 1 to 128 letters, digits and "_.:-"')
      .optional()
      .describe('How the registry calls this gateway; default: host name and a number kept in dataDir'),
  })
  .superRefine(({ follow, url, ssl }, context) => {
    if (ssl !== undefined && !url?.startsWith('https:')) {
      const message = 'is for a url that begins with https://; give one, or leave ssl out';
      context.addIssue({ code: 'custom', path: ['ssl'], message });
    }
    const owners = new Map<string, string>();
    for (const [i, { name, served = name }] of follow.entries()) {
      const owner = owners.get(served) ?? name;
      owners.set(served, owner);
      if (owner === name) continue;
      const message = `"${served}" is to serve ${owner} and ${name}, whose versions have the same numbers; give one another name`;
      context.addIssue({ code: 'custom', path: ['follow', i, 'served'], message });
    }
  })
  .prefault({});

export type PullConfig = z.output<typeof pullSchema>;
