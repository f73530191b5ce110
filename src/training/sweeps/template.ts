import type { JobDocumentInput, JobSpec } from '../jobs/spec.ts';
import type { Params } from './algorithms/space.ts';
import type { SweepDocument } from './spec.ts';

const WHOLE = /^\$\{params\.([^}]*)\}$/;
const ANYWHERE = /\$\{params\b/;

interface Place {
  path: PropertyKey[];
  text: string;
}

/** Arguments and values of variables: where a parameter may stand. */
function places({ command = [], args, env }: JobSpec): Place[] {
  return [
    ...command.slice(1).map((text, i) => ({ path: ['command', i + 1], text })),
    ...args.map((text, i) => ({ path: ['args', i], text })),
    ...Object.entries(env).map(([variable, text]) => ({ path: ['env', variable], text })),
  ];
}

/** What is wrong with the parameters of a template: unknown ones, unused ones, parts of a longer text. */
export function templateProblems(spec: JobSpec, names: readonly string[]): { path: PropertyKey[]; message: string }[] {
  const problems: { path: PropertyKey[]; message: string }[] = [];
  const used = new Set<string>();
  for (const { path, text } of places(spec)) {
    const name = WHOLE.exec(text)?.[1];
    if (name === undefined) {
      if (ANYWHERE.test(text))
        problems.push({
          path,
          message: `${JSON.stringify(text.slice(0, 100))}: a parameter stands for a whole argument or value, such as "--lr", "\${params.lr}"`,
        });
      continue;
    }
    used.add(name);
    if (!names.includes(name))
      problems.push({ path, message: `no parameter ${JSON.stringify(name)}; there are: ${names.join(', ')}` });
  }
  const unused = names.filter((name) => !used.has(name));
  if (unused.length > 0)
    problems.push({
      path: [],
      message: `the parameters ${unused.join(', ')} are used nowhere; put "\${params.${unused[0]}}" into args or env`,
    });
  for (const field of ['idempotencyKey', 'params'] as const)
    if (spec[field] !== undefined && Object.keys(spec[field]).length > 0)
      problems.push({ path: [field], message: 'the sweep sets it for each trial; leave it out' });
  return problems;
}

/** The spec of one trial. */
export function fillTemplate(spec: JobSpec, params: Params): JobSpec {
  const fill = (text: string): string => {
    const name = WHOLE.exec(text)?.[1];
    return name === undefined ? text : String(params[name]);
  };
  return {
    ...spec,
    ...(spec.command === undefined ? {} : { command: [spec.command[0], ...spec.command.slice(1).map(fill)] }),
    args: spec.args.map(fill),
    env: Object.fromEntries(Object.entries(spec.env).map(([variable, text]) => [variable, fill(text)])),
  };
}

/** The job of one trial. Its run lies under the sweep's. */
export function trialJob(
  { metadata, spec }: SweepDocument,
  { sweep_id, run_id }: { sweep_id: string; run_id: string },
  number: number,
  params: Params,
): JobDocumentInput {
  const { objective, trialTemplate } = spec;
  return {
    apiVersion: 'switchyard/v1',
    kind: 'Job',
    metadata: { name: `${metadata.name}-${number}`, labels: { sweep: metadata.name, trial: String(number) } },
    spec: {
      ...fillTemplate(trialTemplate, params),
      experiment: trialTemplate.experiment ?? metadata.name,
      metrics: { ...trialTemplate.metrics, objective: objective.metric, direction: objective.type },
      idempotencyKey: `sweep:${sweep_id}:${number}`,
      tags: {
        ...trialTemplate.tags,
        'mlflow.parentRunId': run_id,
        'switchyard.sweep': sweep_id,
        'switchyard.trial': String(number),
      },
    },
  };
}
