import type { DataNote } from '../inputs/pin.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { JobSpec } from '../jobs/spec.ts';
import type { Artifact } from './artifacts.ts';
import type { PipelineDocument, StepInput } from './document.ts';

/**
 * The document with every dataset and feature view that a step reads decided: a run that is resumed, or taken up by a
 * server that starts anew, reads the same bytes. Rejects naming step and field.
 */
export async function pinSteps(
  document: PipelineDocument,
  jobs: Pick<Jobs, 'pinInputs'>,
  actor: string,
): Promise<{ document: PipelineDocument; artifacts: Record<string, Artifact> }> {
  const artifacts: Record<string, Artifact> = {};
  const steps = [];
  for (const [i, step] of document.spec.steps.entries()) {
    const kind = step.train === undefined ? 'run' : 'train';
    const body = step[kind];
    const data = Object.entries(body?.inputs ?? {}).filter(([, input]) => typeof input !== 'string');
    if (body === undefined || data.length === 0) {
      steps.push(step);
      continue;
    }
    const inputs: Record<string, StepInput> = { ...body.inputs };
    for (const [name, input] of data) {
      const given = [{ ...(input as object), name }] as JobSpec['inputs'];
      const found = await jobs.pinInputs(given, actor, () => `spec.steps.${i}.${kind}.inputs.${name}`);
      const { name: _name, ...pinned } = found.inputs[0];
      inputs[name] = pinned;
      for (const note of found.notes) artifacts[`inputs/${step.name}/${name}`] = artifactOf(note);
    }
    steps.push({ ...step, [kind]: { ...body, inputs } });
  }
  return { document: { ...document, spec: { ...document.spec, steps } }, artifacts };
}

function artifactOf({ file, digest, size }: DataNote): Artifact {
  return { files: [{ path: file, digest, size }] };
}
