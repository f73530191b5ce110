import type { GatewayClaims } from '../../shared/gateway-claims.ts';
import { RegistryError, shown } from '../errors.ts';
import type { RestRoute } from './route.ts';

const REPORT = 'registryReportGateway';
const MOVE = 'registryMoveAlias';
/** All that a gateway needs of a registry, unless a rollout of its moves aliases. */
const OPERATIONS: ReadonlySet<string> = new Set([
  'registryWatchServing',
  'registryReadAliases',
  'registryVersionManifest',
  'registryReadBlob',
  REPORT,
]);

/** Throws PERMISSION_DENIED for whatever else a gateway calls, and when it reports as another one. */
export function checkGatewayCall(
  { gatewayId, moveAliases }: GatewayClaims,
  { operationId }: RestRoute,
  { gateway_id, expected_version }: Record<string, unknown>,
): void {
  if (operationId === MOVE) {
    checkMove(gatewayId, moveAliases, expected_version);
    return;
  }
  if (!OPERATIONS.has(operationId))
    throw new RegistryError(
      'PERMISSION_DENIED',
      `the token of a gateway does not open this call (${operationId}); it is for ${[...OPERATIONS].join(', ')} only`,
    );
  if (operationId !== REPORT || isOne(gatewayId, String(gateway_id))) return;
  throw new RegistryError(
    'PERMISSION_DENIED',
    `this token is that of gateway ${shown(gatewayId)}, which may not report as ${shown(gateway_id)}; set models.registry.gatewayId of the gateway, or gatewayId of its token in server.gatewayTokens`,
  );
}

function checkMove(gatewayId: string, allowed: boolean, expected: unknown): void {
  if (!allowed)
    throw new RegistryError(
      'PERMISSION_DENIED',
      `the token of gateway ${shown(gatewayId)} may not move aliases (${MOVE}); set moveAliases: true beside it in server.gatewayTokens of the registry's server if rollouts on that gateway are to end with onPass.setAlias`,
    );
  // What a person has decided meanwhile is not overruled by what a gateway has not seen.
  if (typeof expected !== 'string')
    throw new RegistryError(
      'PERMISSION_DENIED',
      `the token of a gateway moves an alias only away from the version it names; give it as expected_version`,
    );
}

function isOne(allowed: string, id: string): boolean {
  return allowed.endsWith('*') ? id.startsWith(allowed.slice(0, -1)) : id === allowed;
}
