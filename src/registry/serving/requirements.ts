import { z } from 'zod';
import { invalidArgument } from '../../shared/errors.ts';

const NUMBERS = /^\d+(\.\d+){0,3}$/;
const BOUND = /(>=|<=|==|>|<) *([\d.]+)/g;

/** What a version needs of the gateway that serves it. Kept as the version's tag `switchyard.requirements`, as JSON. */
const schema = z.strictObject({
  runtime: z
    .string()
    .regex(
      /^[a-z][a-z0-9-]*( *(>=|<=|==|>|<) *\d+(\.\d+){0,3}( *, *| *$))*$/,
      'give a runtime with bounds, such as "onnxruntime>=1.17,<2"',
    )
    .optional(),
  provider: z
    .string()
    .regex(/^[A-Za-z]+$/, 'give an execution provider, such as "cuda" or "CUDAExecutionProvider"')
    .optional(),
  memoryBytes: z.int().positive().optional(),
  hardware: z
    .strictObject({
      architecture: z.enum(['x64', 'arm64']).optional(),
      cpus: z.int().positive().optional(),
      gpus: z.int().positive().optional(),
    })
    .optional(),
  /** Models that must be served beside it. */
  preprocessing: z.array(z.string().min(1)).max(32).optional(),
  /** A file of the version, and what must be in it. */
  environment: z
    .strictObject({
      file: z.string().min(1),
      digest: z
        .string()
        .regex(/^sha256:[0-9a-f]{64}$/, 'give sha256:<64 hexadecimal digits>')
        .optional(),
    })
    .optional(),
});

export type Requirements = z.output<typeof schema>;

export const REQUIREMENTS_TAG = 'switchyard.requirements';

/** Throws invalid_argument naming the field, its value and what is allowed. */
export function parseRequirements(text: string): Requirements {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalidArgument(`requirements ${JSON.stringify(text.slice(0, 100))} are not JSON; known fields: ${FIELDS}`);
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const at = ['requirements', ...issue.path.map(String)].join('.');
  throw invalidArgument(`${at}: ${issue.message}; known fields: ${FIELDS}`);
}

const FIELDS = Object.keys(schema.shape).join(', ');

/** What a gateway has. */
export interface ServingFacts {
  /** Name → version. */
  runtimes: Readonly<Record<string, string>>;
  /** As ONNX Runtime calls them in onnxruntime-node: "cpu", "cuda", … */
  providers: readonly string[];
  /** For models; 0: unknown. */
  memoryBytes: number;
  architecture: string;
  cpus: number;
  gpus: number;
  /** Whether a model of this name is known here. */
  hasModel(name: string): boolean;
}

/** What a gateway lacks for a version, in words; empty: nothing. `files`: the version's, path → digest. */
export function unmetRequirements(
  needs: Requirements,
  has: ServingFacts,
  files: ReadonlyMap<string, string>,
): string[] {
  const unmet: string[] = [];
  const miss = (what: string, here: string): void => {
    unmet.push(`needs ${what}; this gateway has ${here}`);
  };
  if (needs.runtime !== undefined) {
    const [name] = needs.runtime.split(/[ <>=]/);
    const bounds = [...needs.runtime.matchAll(BOUND)];
    const version = Object.hasOwn(has.runtimes, name) ? has.runtimes[name] : undefined;
    const here = Object.entries(has.runtimes)
      .map(([runtime, number]) => `${runtime} ${number}`)
      .join(', ');
    if (version === undefined || !bounds.every(([, operator, wanted]) => satisfies(version, operator, wanted)))
      miss(`runtime ${needs.runtime}`, here);
  }
  if (needs.provider !== undefined) {
    const wanted = needs.provider.toLowerCase().replace(/executionprovider$/, '');
    if (!has.providers.includes(wanted)) miss(`execution provider ${needs.provider}`, has.providers.join(', '));
  }
  if (needs.memoryBytes !== undefined && has.memoryBytes > 0 && needs.memoryBytes > has.memoryBytes)
    miss(`${needs.memoryBytes} bytes of memory`, `${has.memoryBytes} for models`);
  const { architecture, cpus, gpus } = needs.hardware ?? {};
  if (architecture !== undefined && architecture !== has.architecture)
    miss(`architecture ${architecture}`, has.architecture);
  if (cpus !== undefined && cpus > has.cpus) miss(`${cpus} CPUs`, String(has.cpus));
  if (gpus !== undefined && gpus > has.gpus) miss(`${gpus} GPUs`, String(has.gpus));
  for (const name of needs.preprocessing ?? [])
    if (!has.hasModel(name))
      unmet.push(`needs the model ${JSON.stringify(name)} beside it, which this gateway does not serve`);
  if (needs.environment !== undefined) {
    const { file, digest } = needs.environment;
    const found = files.get(file);
    if (found === undefined)
      unmet.push(`needs the environment file ${JSON.stringify(file)}, which is not part of the version`);
    else if (digest !== undefined && digest !== found)
      unmet.push(`needs the environment file ${JSON.stringify(file)} with ${digest}, but the version's is ${found}`);
  }
  return unmet;
}

function satisfies(version: string, operator: string, wanted: string): boolean {
  const order = compareNumbers(version.replace(/[-+].*$/, ''), wanted);
  switch (operator) {
    case '>=':
      return order >= 0;
    case '<=':
      return order <= 0;
    case '>':
      return order > 0;
    case '<':
      return order < 0;
    default:
      return order === 0;
  }
}

/** Numeric order of dotted versions; missing parts are zero. What is no such version is older than all. */
function compareNumbers(a: string, b: string): number {
  if (!NUMBERS.test(a)) return -1;
  const [left, right] = [a, b].map((text) => text.split('.').map(Number));
  for (let i = 0; i < 4; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
