import { z } from 'zod';

/** Where requests that somebody else named may go, against server-side request forgery. @param who names the hosts */
export function hostsSchema(who: string) {
  return z
    .strictObject({
      schemes: z
        .array(z.enum(['https', 'http']))
        .min(1)
        .default(['https']),
      hosts: z
        .array(z.string())
        .default([])
        .describe(`"host", "host:port" or "*.suffix" that ${who} may name; empty: any`),
      privateHosts: z
        .array(z.string())
        .default([])
        .describe('"host" or "host:port" that may resolve to private, loopback or link-local addresses'),
    })
    .prefault({});
}
