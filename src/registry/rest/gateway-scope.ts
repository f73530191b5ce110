import type { GatewayClaims } from '../../shared/gateway-claims.ts';
import { RegistryError, shown } from '../errors.ts';
import type { RestRoute } from './route.ts';

const REPORT = 'registryReportGateway';
/** All that a gateway needs of a registry. */
const OPERATIONS: ReadonlySet<string> = new Set([
  'registryWatchServing',
  'registryVersionManifest',
  'registryReadBlob',
  REPORT,
]);

/** Throws PERMISSION_DENIED for whatever else a gateway calls, and when it reports as another one. */
export function checkGatewayCall(
  { gatewayId }: GatewayClaims,
  { operationId }: RestRoute,
  { gateway_id }: Record<string, unknown>,
): void {
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

function isOne(allowed: string, id: string): boolean {
  return allowed.endsWith('*') ? id.startsWith(allowed.slice(0, -1)) : id === allowed;
}
