import { type Clock, monotonicMs } from '../../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { LoadSpec } from '../backend.ts';
import { ReplicaCaller } from './caller.ts';
import { ReplicaChannels } from './channels.ts';
import { type RemoteSettings, remoteCredentials, remoteSettings } from './endpoints.ts';
import { HealthProber } from './prober.ts';
import { DEFAULT_REPLICA_POLICY, type Replica, ReplicaSet } from './replicas.ts';

/** What every remote backend shares for one model: its replicas, their connections, the choice between them, health. */
export class RemoteReplicas {
  readonly settings: RemoteSettings;
  readonly caller: ReplicaCaller;
  readonly #channels: ReplicaChannels[];
  #prober: HealthProber | undefined;

  private constructor(settings: RemoteSettings, channels: ReplicaChannels[], clock: Clock) {
    this.settings = settings;
    this.#channels = channels;
    const set = new ReplicaSet(settings.addresses, DEFAULT_REPLICA_POLICY, clock, Math.random);
    this.caller = new ReplicaCaller(set, { perTryMs: settings.perTryMs, tries: settings.tries }, clock);
  }

  static async open(spec: LoadSpec): Promise<RemoteReplicas> {
    const settings = remoteSettings(spec);
    const credentials = await remoteCredentials(spec, settings.tls);
    const channels = settings.addresses.map((address) => new ReplicaChannels(address, credentials, settings.channels));
    return new RemoteReplicas(settings, channels, monotonicMs);
  }

  channels(replica: Replica): ReplicaChannels {
    return this.#channels[replica.index];
  }

  /** Asks one replica after the other until one answers: for loading, when nothing is known of any. */
  async first<T>(ask: (channels: ReplicaChannels) => Promise<T>): Promise<T> {
    let last: unknown;
    for (const channels of this.#channels) {
      try {
        return await ask(channels);
      } catch (error) {
        last = error;
      }
    }
    throw toSwitchyardError(last);
  }

  /** Starts health probing. `probe` has at most the probe interval, and never less than a second. */
  watch(probe: (channels: ReplicaChannels, timeoutMs: number) => Promise<boolean>): void {
    const interval = this.settings.probeIntervalMs;
    const timeout = Math.max(interval, 1000);
    this.#prober = new HealthProber(this.caller.set, interval, (replica) => probe(this.channels(replica), timeout));
  }

  /** As BackendModel has it. */
  absence(): string {
    const { set } = this.caller;
    if (set.ready()) return '';
    return `none of its servers is ready: ${set.replicas.map(({ address }) => address).join(', ')}`;
  }

  watchAbsence(changed: () => void): void {
    this.caller.set.onReady = changed;
  }

  /** Milliseconds left of a stream's deadline, at most one try's. */
  timeLeft(deadline: number): number {
    const left = Math.min(deadline - monotonicMs(), this.settings.perTryMs);
    if (left <= 0)
      throw new SwitchyardError('deadline_exceeded', 'the deadline passed before the remote server was asked');
    return left;
  }

  close(): void {
    this.#prober?.stop();
    for (const channels of this.#channels) channels.close();
  }
}
