import { join } from 'node:path';
import type { LoadSpec, RuntimeSignature } from '../backends/backend.ts';
import { instanceDevices } from '../backends/instances.ts';
import type { ModelConfig } from '../config/model-config.ts';
import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { isRemote } from './config/backends.ts';
import { completeConfig, completeEnsemble } from './config/complete.ts';
import { readExtensions } from './config/extensions.ts';
import { asRawModel } from './config/raw-types.ts';
import type { LoadedVersion, ModelEntry } from './entry.ts';
import { type DigestCache, digestOf } from './repository/digest.ts';
import { isInside } from './repository/names.ts';
import { checkExternalData } from './repository/onnx-external.ts';
import type { ScannedModel, ScannedVersion } from './repository/scan.ts';
import { Semaphore } from './serial.ts';
import type { ReadSource } from './source.ts';
import type { JsonTable, Verdict } from './verdicts.ts';

/** The threads and processes that run models; implemented by the executor side. */
export interface ExecutorPool {
  /**
   * Loads and warms up; resolves when every chosen executor holds it. `absence`: why none of them can run it after all,
   * '' = one can. On rejection nothing stays loaded.
   */
  load(
    spec: LoadSpec,
    handle: number,
  ): Promise<{ executors: number[]; absence: string; signature: RuntimeSignature; memoryBytes: number }>;
  /** Resolves when requests accepted for the handle are answered and its memory is given back. */
  unload(handle: number): Promise<void>;
}

export interface PreflightReport {
  signature: RuntimeSignature;
  memoryBytes: number;
  warmupMs: number;
}

/** Proves a version in a process of its own. Rejects with a reason fit for the repository index. */
export interface Preflight {
  run(spec: LoadSpec): Promise<PreflightReport>;
}

export interface LoaderOptions {
  preflight: boolean;
  /** Versions being proven or loaded at once. */
  parallelLoads: number;
  defaultMaxBatchSize: number;
  /** Names the runtimes' versions: a verdict holds only for the runtime that gave it. */
  runtimeId: string;
}

/** Turns one version of a model into a loaded one: guard, prove (or recall the proof), complete, load. */
export class VersionLoader {
  private readonly options: LoaderOptions;
  private readonly pool: ExecutorPool;
  private readonly preflight: Preflight;
  private readonly verdicts: JsonTable<Verdict>;
  private readonly noteUnproven: (key: string, model: string, version: string) => Promise<void>;
  private readonly digests: DigestCache;
  private readonly slots: Semaphore;
  private readonly metricsRow: (model: string, version: string) => number;
  private readonly proving = new Map<string, Promise<Verdict | undefined>>();
  private nextHandle = 1;

  constructor(
    options: LoaderOptions,
    parts: {
      pool: ExecutorPool;
      preflight: Preflight;
      verdicts: JsonTable<Verdict>;
      /** A version is about to be loaded that nothing has proven: should it end the process, this tells which one it was. */
      noteUnproven(key: string, model: string, version: string): Promise<void>;
      digests: DigestCache;
      metricsRow: (model: string, version: string) => number;
    },
  ) {
    this.options = options;
    this.pool = parts.pool;
    this.preflight = parts.preflight;
    this.verdicts = parts.verdicts;
    this.noteUnproven = (...version) => parts.noteUnproven(...version);
    this.digests = parts.digests;
    this.metricsRow = parts.metricsRow;
    this.slots = new Semaphore(options.parallelLoads);
  }

  /** Digest of all that a version is made of: its files, its configuration and the runtime. */
  async keyOf(version: ScannedVersion, source: ReadSource): Promise<string> {
    const content = version.problem ?? (await this.digests.ofFiles(version.directory, version.files));
    return digestOf([version.version, content, source.configDigest, this.options.runtimeId]);
  }

  /** Loads a version that is not loaded. Rejects with a readable reason; then nothing of it stays. */
  load(entry: ModelEntry, version: ScannedVersion, key: string, config: ModelConfig): Promise<LoadedVersion> {
    if (config.backend === 'ensemble') return Promise.resolve().then(() => this.ensemble(version, key, config));
    return this.slots.run(() => this.loadFiles(entry, version, key, config));
  }

  /** Proves a version that may be loaded later, so that loading it takes no proof. Rejects with the reason. */
  foresee(model: ScannedModel, version: ScannedVersion, key: string, config: ModelConfig): Promise<void> {
    return this.slots.run(async () => {
      guardFiles(version, config);
      await this.verdictOn(specOf(model, version, config), key);
    });
  }

  private ensemble(version: ScannedVersion, key: string, config: ModelConfig): LoadedVersion {
    const metricsRow = this.metricsRow(config.name, version.version);
    const complete = completeEnsemble(config);
    return {
      version: version.version,
      key,
      handle: this.nextHandle++,
      config: complete,
      executors: [],
      absence: '',
      memoryBytes: 0,
      metricsRow,
    };
  }

  private async loadFiles(
    entry: ModelEntry,
    version: ScannedVersion,
    key: string,
    config: ModelConfig,
  ): Promise<LoadedVersion> {
    const spec = specOf(entry.source.scanned, version, config);
    if (version.problem !== undefined) throw new SwitchyardError('failed_precondition', version.problem);
    guardFiles(version, config);
    const verdict = await this.verdictOn(spec, key);
    if (verdict) spec.config = completeConfig(config, verdict.signature, this.options.defaultMaxBatchSize);
    else if (!isRemote(config.backend)) await this.noteUnproven(key, spec.model, spec.version);
    const handle = this.nextHandle++;
    const loaded = await this.pool.load(spec, handle);
    try {
      return {
        version: version.version,
        key,
        handle,
        config: completeConfig(spec.config, loaded.signature, this.options.defaultMaxBatchSize),
        executors: loaded.executors,
        absence: loaded.absence,
        memoryBytes: loaded.memoryBytes,
        metricsRow: this.metricsRow(config.name, version.version),
      };
    } catch (error) {
      await this.pool.unload(handle);
      throw error;
    }
  }

  /** The verdict on a content, given before or now; two who want it at once share the proof. */
  private verdictOn(spec: LoadSpec, key: string): Promise<Verdict | undefined> {
    const known = this.verdicts.get(key);
    if (known !== undefined) return Promise.resolve(known);
    const running = this.proving.get(key) ?? this.prove(spec, key).finally(() => this.proving.delete(key));
    this.proving.set(key, running);
    return running;
  }

  /** Remote models run nothing here, so there is nothing to prove; others are proven once for each content. */
  private async prove(spec: LoadSpec, key: string): Promise<Verdict | undefined> {
    const { config, model, version } = spec;
    if (!this.options.preflight || isRemote(config.backend) || !readExtensions(config.parameters).preflight)
      return undefined;
    let report: PreflightReport;
    try {
      report = await this.preflight.run(spec);
    } catch (error) {
      const { code, message } = toSwitchyardError(error);
      throw new SwitchyardError(code, `preflight failed: ${message}`, { cause: error });
    }
    const verdict: Verdict = { model, version, ...report, provenAt: Date.now() };
    // Not awaited: a verdict that is lost costs another preflight, a slow disk must not hold up loading.
    this.verdicts.set(key, verdict).catch(() => undefined);
    return verdict;
  }
}

function specOf(model: ScannedModel, version: ScannedVersion, config: ModelConfig): LoadSpec {
  return {
    model: config.name,
    version: version.version,
    config,
    directory: version.directory,
    // A version that lies elsewhere has no folder around it that its files might reach into.
    modelDirectory: isInside(model.directory, version.directory) ? model.directory : '',
    device: config.backend === 'onnxruntime' ? (instanceDevices(config.instanceGroups)[0] ?? -1) : -1,
  };
}

/** Checks what can be known without a runtime: the model file is there, and its external data stays in its folder. */
function guardFiles(version: ScannedVersion, config: ModelConfig): void {
  if (config.backend !== 'onnxruntime') return;
  const name = asRawModel(config.raw).default_model_filename || 'model.onnx';
  if (!version.files.some((file) => file.path === name)) {
    throw new SwitchyardError('failed_precondition', `version ${version.version} has no file "${name}"`);
  }
  checkExternalData(join(version.directory, name));
}

/** Rows of metrics by the order in which versions came. */
export function countRows(): (model: string, version: string) => number {
  const rows = new Map<string, number>();
  return (model, version) => {
    const key = `${model}/${version}`;
    const row = rows.get(key) ?? rows.size;
    rows.set(key, row);
    return row;
  };
}
