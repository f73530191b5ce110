import type { FeatureVerb } from '../features/features.ts';
import type { ControlMethod } from '../gateway/messages.ts';
import type { ModelManager } from '../models/manager.ts';
import type { VersionStatus } from '../pipeline/types.ts';
import { type LogSettings, updateLogSettings } from '../telemetry/log-settings.ts';
import type { TraceSettingsStore } from '../telemetry/trace-settings.ts';
import type { GatewayFleet } from './gateway-fleet.ts';

/** What gateway threads and the admin API may ask of the control thread. Rejects with SwitchyardError. */
export class ControlPlane {
  private readonly manager: ModelManager;
  private readonly traces: TraceSettingsStore;
  private readonly fleet: GatewayFleet;
  private readonly applyLog: (settings: LogSettings) => void;
  private readonly feedback: (body: unknown, tenant: string) => Promise<object>;
  private readonly features: (verb: FeatureVerb, tenant: string, body: Uint8Array) => Promise<object>;
  private log: LogSettings;

  constructor(
    manager: ModelManager,
    traces: TraceSettingsStore,
    fleet: GatewayFleet,
    log: LogSettings,
    applyLog: (settings: LogSettings) => void,
    feedback: (body: unknown, tenant: string) => Promise<object>,
    features: (verb: FeatureVerb, tenant: string, body: Uint8Array) => Promise<object>,
  ) {
    this.feedback = feedback;
    this.features = features;
    this.manager = manager;
    this.traces = traces;
    this.fleet = fleet;
    this.log = log;
    this.applyLog = applyLog;
  }

  /** Entry for messages: arguments are as the gateway's ControlClient was called. */
  call(method: ControlMethod, args: unknown[]): Promise<unknown> {
    switch (method) {
      case 'repositoryIndex':
        return this.repositoryIndex(args[0] as boolean);
      case 'loadModel':
        return this.manager.load(args[0] as string, args[1] as string, args[2] as Map<string, Uint8Array>);
      case 'unloadModel':
        return this.manager.unload(args[0] as string, args[1] as boolean);
      case 'demand':
        return this.manager.demand(args[0] as string);
      case 'feedback':
        return this.feedback(args[0], args[1] as string);
      case 'features':
        return this.features(args[0] as FeatureVerb, args[1] as string, args[2] as Uint8Array);
      case 'traceSettings':
        return Promise.resolve().then(() =>
          this.traceSettings(args[0] as string, args[1] as Record<string, unknown> | undefined),
        );
      case 'logSettings':
        return Promise.resolve().then(() => this.logSettings(args[0] as Record<string, unknown> | undefined));
    }
  }

  repositoryIndex(readyOnly: boolean): Promise<{ name: string; versions: VersionStatus[] }[]> {
    return this.manager.repositoryIndex(readyOnly);
  }

  private traceSettings(model: string, update: Record<string, unknown> | undefined): Record<string, unknown> {
    const answer = this.traces.update(model, update);
    if (update !== undefined) this.fleet.setTraceSettings(this.traces.state);
    return answer;
  }

  private logSettings(update: Record<string, unknown> | undefined): Record<string, unknown> {
    if (update !== undefined) {
      this.log = updateLogSettings(this.log, update);
      this.applyLog(this.log);
      this.fleet.setLogSettings(this.log);
    }
    return { ...this.log };
  }
}
