import { invalidArgument } from '../../shared/errors.ts';
import { requirementsProblem } from '../environments/requirements.ts';
import type { DataSources } from '../inputs/data-source.ts';
import { checkInputs, type PinnedInputs, type PinParts, pinInputs } from '../inputs/pin.ts';
import type { Runner } from '../runners/runner.ts';
import { checkSecrets } from '../work/secrets.ts';
import { packSourceDir } from '../work/source-dir.ts';
import type { DriverParts } from './driver.ts';
import { readJob } from './read.ts';
import type { JobDocument, JobDocumentInput, JobSpec, RunnerKind } from './spec.ts';

/** What attempts on this machine may take together: cores, bytes, GPUs. */
export interface Capacity {
  cpu: number;
  memory: number;
  gpus: number;
}

export interface IntakeParts extends Pick<DriverParts, 'store' | 'environments' | 'work' | 'config'> {
  /** Throws invalid_argument naming the runners there are. */
  runner(kind: RunnerKind): Runner;
  capacity: Capacity;
  /** Where inputs from datasets and feature views come from. */
  data: DataSources;
}

/** Reads what is submitted, and says whether this server can run it. */
export class JobIntake {
  private readonly parts: IntakeParts;

  constructor(parts: IntakeParts) {
    this.parts = parts;
  }

  /** Rejects with invalid_argument. @param actor who must be allowed to read its data */
  async validate(input: JobDocumentInput, actor: string): Promise<JobDocument> {
    const document = await this.check(input);
    await checkInputs(document.spec.inputs, actor, this.pinParts);
    return document;
  }

  /** The same, but for what its data inputs are. */
  async check(input: JobDocumentInput): Promise<JobDocument> {
    let document = readJob(input);
    const { sourceDir } = document.spec;
    if (sourceDir !== undefined) {
      const files = { ...(await packSourceDir(sourceDir, this.parts.config.sourceDirs)), ...document.spec.files };
      const { sourceDir: _packed, ...spec } = document.spec;
      document = readJob({ ...document, spec: { ...spec, files } });
    }
    const { spec } = document;
    this.parts.runner(spec.runner).check(spec);
    checkSecrets(spec.secretRefs, this.parts.config.secrets);
    this.checkEnvironment(document);
    this.checkCapacity(document);
    if (spec.resumeFrom !== undefined) {
      if (spec.checkpoint === undefined)
        throw invalidArgument('spec.resumeFrom: needs spec.checkpoint, the folder it goes to');
      if ((await this.parts.store.get(spec.resumeFrom)) === undefined)
        throw invalidArgument(`spec.resumeFrom: there is no job ${JSON.stringify(spec.resumeFrom)}`);
    }
    return document;
  }

  pin(inputs: JobSpec['inputs'], actor: string, where?: (i: number) => string): Promise<PinnedInputs> {
    return pinInputs(inputs, actor, this.pinParts, where);
  }

  private get pinParts(): PinParts {
    const { data, work } = this.parts;
    const { store } = work.storage.vault;
    return { sources: data, sizeOf: async (digest) => (await store.stat(digest))?.size, now: Date.now };
  }

  private checkEnvironment({ spec }: JobDocument): void {
    const { environment } = spec;
    if (environment === undefined) return;
    this.parts.environments.check(environment.python);
    const { requirementsFile } = environment;
    if (requirementsFile === undefined) return;
    if (!Object.hasOwn(spec.files, requirementsFile))
      throw invalidArgument(
        `spec.environment.requirementsFile: ${JSON.stringify(requirementsFile)} is not among the job's files`,
      );
    const problem = requirementsProblem(spec.files[requirementsFile]);
    if (problem !== undefined) throw invalidArgument(`${requirementsFile}: ${problem}`);
  }

  private checkCapacity({ spec }: JobDocument): void {
    if (!this.parts.runner(spec.runner).local) return;
    const { cpu, memory, gpus } = this.parts.capacity;
    const tooMuch = (field: string, wanted: number, has: number): void => {
      if (wanted > has)
        throw invalidArgument(
          `spec.resources.${field}: ${wanted} is more than the ${has} that training.process allows`,
        );
    };
    tooMuch('cpu', spec.resources.cpu, cpu);
    tooMuch('memory', spec.resources.memory ?? 0, memory);
    tooMuch('gpu', spec.resources.gpu, gpus);
  }
}
