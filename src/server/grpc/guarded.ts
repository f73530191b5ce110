import type { Identity } from '../../admission/admission.ts';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { GatewayServices } from '../services.ts';
import { credentialsOf } from './inference-task.ts';
import type { UnaryCall, UnaryCallback } from './service-adapter.ts';

/** 'anyone': probes; 'caller': whoever authenticates; 'control': callers with that role. */
export type Access = 'anyone' | 'caller' | 'control';
export type UnaryHandler = (call: UnaryCall, callback: UnaryCallback) => void;
export type Handlers = Record<string, UnaryHandler>;

/** A unary handler from a function of the request, behind the authentication its access level asks for. */
export function guard<T>(services: GatewayServices, access: Access, handler: (request: T) => unknown): UnaryHandler {
  return (call, callback) => {
    respond(services, access, handler, call).then(
      (value) => callback(null, value),
      (error: unknown) => callback(toSwitchyardError(error)),
    );
  };
}

async function respond<T>(
  services: GatewayServices,
  access: Access,
  handler: (request: T) => unknown,
  call: UnaryCall,
): Promise<unknown> {
  if (access !== 'anyone' && services.admission.enabled) {
    const identity = await services.admission.authenticate(credentialsOf(call.grpc));
    if (access === 'control') requireControl(identity);
  }
  return handler(call.request as T);
}

function requireControl(identity: Identity): void {
  if (!identity.roles.includes('control')) {
    throw new SwitchyardError('permission_denied', `this method needs the role 'control'; the caller does not have it`);
  }
}
