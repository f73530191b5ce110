import { createHash } from 'node:crypto';
import { z } from 'zod';

const token = z.strictObject({
  gatewayId: z
    .string()
    .regex(
      /^([A-Za-z0-9][\w.:-]{0,127}|([A-Za-z0-9][\w.:-]{0,126})?\*)$/,
      'allowed: a gateway\'s id, or the beginning of several and "*", such as "edge-*"',
    )
    .describe('The gateway that has the token: it reports under this id. A "*" at the end stands for any rest'),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'must be the SHA-256 of the token, 64 lower-case hex digits')
    .describe('Of the token, which is stored nowhere'),
  expires: z.iso.datetime({ offset: true }).optional().describe('ISO 8601 time from which it is refused'),
  moveAliases: z
    .boolean()
    .default(false)
    .describe('It may also move aliases of any model: for rollouts with onPass.setAlias that run on the gateway'),
});

/** `server.gatewayTokens`: what gateways elsewhere follow this server's registry with. */
export const gatewayTokensSchema = z.array(token).default([]);

export type GatewayToken = z.output<typeof token>;

/** What is wrong with the list as a whole; `path` is inside it. */
export function gatewayTokenProblems(server: {
  adminToken?: string;
  gatewayTokens: readonly GatewayToken[];
}): { path: (string | number)[]; message: string }[] {
  const { adminToken, gatewayTokens } = server;
  if (gatewayTokens.length === 0) return [];
  if (adminToken === undefined) {
    const message = 'nobody is asked for a token yet, so that these bound nobody; set server.adminToken too';
    return [{ path: [], message }];
  }
  const admin = createHash('sha256').update(adminToken).digest('hex');
  const known = new Set<string>();
  return gatewayTokens.flatMap(({ sha256 }, i) => {
    const path = [i, 'sha256'];
    if (sha256 === admin) return [{ path, message: 'this is the admin token; give gateways one of their own' }];
    if (known.has(sha256))
      return [{ path, message: 'the same token is in the list already; give each gateway its own' }];
    known.add(sha256);
    return [];
  });
}
