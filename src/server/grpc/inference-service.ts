import { loadedFirst } from '../../pipeline/dormant.ts';
import { isModelReady } from '../../pipeline/ready.ts';
import { modelConfigBody, modelMetadata, serverMetadata, statisticsBody } from '../../protocol/v2/metadata.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { GatewayServices } from '../services.ts';
import { type Access, guard, type Handlers } from './guarded.ts';
import { findModel, findVersion } from './lookup.ts';

interface Named {
  name: string;
  version: string;
}

/** Health, metadata, statistics and shared-memory methods of GRPCInferenceService. */
export function inferenceHandlers(services: GatewayServices): Handlers {
  const open = <T>(handler: (request: T) => unknown) => guard<T>(services, 'anyone', handler);
  const known = <T>(handler: (request: T) => unknown) => guard<T>(services, 'caller', handler);
  const { server } = services;
  return {
    ServerLive: open(() => ({ live: server.live() })),
    ServerReady: open(() => ({ ready: server.ready() })),
    ModelReady: open<Named>((request) => ({ ready: isReady(services, request) })),
    ServerMetadata: known(() => serverMetadata(server)),
    ModelMetadata: known<Named>((request) =>
      loadedFirst(services, request.name, request.version, () => metadata(services, request)),
    ),
    ModelConfig: known<Named>((request) =>
      loadedFirst(services, request.name, request.version, () => ({
        config: modelConfigBody(findVersion(services.table(), request.name, request.version).config),
      })),
    ),
    ModelStatistics: known<Named>((request) => statisticsBody(services.statistics(request.name, request.version))),
    ...sharedMemoryHandlers(services),
  };
}

function isReady(services: GatewayServices, request: Named): boolean {
  const model = services.table().models.get(request.name);
  return model !== undefined && isModelReady(model, request.version);
}

function metadata(services: GatewayServices, request: Named): object {
  const table = services.table();
  const chosen = findVersion(table, request.name, request.version);
  const whole = modelMetadata(findModel(table, request.name), chosen.config);
  return request.version === '' ? whole : { ...whole, versions: [chosen.version] };
}

/** Shared memory is not offered: there is nothing to list or to let go, and registering says so. */
function sharedMemoryHandlers(services: GatewayServices): Handlers {
  const handlers: Handlers = {};
  const access: Access = 'caller';
  for (const kind of ['SystemSharedMemory', 'CudaSharedMemory']) {
    handlers[`${kind}Status`] = guard(services, access, () => ({ regions: {} }));
    handlers[`${kind}Unregister`] = guard(services, access, () => ({}));
    handlers[`${kind}Register`] = guard(services, access, () => {
      throw new SwitchyardError('unsupported', 'shared memory is not supported here; send tensors in raw contents');
    });
  }
  return handlers;
}
