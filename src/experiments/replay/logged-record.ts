/** A named typed column of a logged request: values are row-major and flat. */
export interface LoggedColumn {
  name: string;
  shape: readonly number[];
  /** Empty: the log has none, because a redaction took them or they are kept apart. */
  values: readonly unknown[];
}

/** What replays read of a log record (src/eventlog/record.ts), as JSON lines hold it. */
export interface LoggedRecord {
  id: string;
  /** Milliseconds since 1970. */
  time: number;
  route: string;
  /** '' = not on record. */
  tenant: string;
  /** The variant that answered. */
  variant: string;
  assigned: string;
  /** The assigned variant failed, and another one answered. Not so when it was ejected: it was not asked then. */
  failedOver: boolean;
  shadow: boolean;
  status: string;
  latencyMs: number;
  /** Probability with which this record was kept. */
  sampleRate: number;
  propensity: number;
  /** Over the route's variants, in their order. */
  pmf: readonly number[];
  /** Empty: not known, so all of them. */
  eligible: readonly string[];
  /** Index of the route's override that decided; −1: none, so the variant was drawn. */
  override: number;
  role: string;
  analysed: boolean;
  features: readonly LoggedColumn[];
  predictions: readonly LoggedColumn[];
  /** Hashed features of a contextual bandit, where the log has them. */
  context: readonly number[] | undefined;
  /** Joined already. */
  reward: number | undefined;
}

type Fields = Record<string, unknown>;

/** Of a request that another variant answered: whether one was tried before. Old records do not say who failed. */
function failed({ fallbacks, detour }: Fields): boolean {
  return Array.isArray(fallbacks) ? fallbacks.length > 0 : detour !== 'ejected';
}

/**
 * Reads one line of the log. Undefined: it is feedback, which stands between the records in `log tail`. Throws TypeError
 * naming the field, its value and what is allowed.
 */
export function readLogged(value: unknown): LoggedRecord | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new TypeError('is not a JSON object');
  const fields = value as Fields;
  if (typeof fields.rewards === 'object' && fields.rewards !== null && !('variant' in fields)) return undefined;
  const text = (name: string, fallback?: string): string => {
    const given = fields[name] ?? fallback;
    if (typeof given !== 'string') throw wrong(name, given, 'a text');
    return given;
  };
  const number = (name: string, low: number, high: number, fallback?: number): number => {
    const given = fields[name] ?? fallback;
    if (typeof given !== 'number' || !(given >= low && given <= high))
      throw wrong(name, given, `a number from ${low} to ${high}`);
    return given;
  };
  const assigned = text('assigned', text('variant'));
  const sampleRate = number('sampleRate', 0, 1, 1);
  if (sampleRate === 0) throw wrong('sampleRate', 0, 'above 0: a record that is kept was kept with some probability');
  const reward = fields.reward ?? undefined;
  if (reward !== undefined && typeof reward !== 'number') throw wrong('reward', reward, 'a number');
  return {
    id: text('id'),
    time: number('time', 0, Number.MAX_SAFE_INTEGER),
    route: text('route'),
    tenant: text('tenant', ''),
    variant: text('variant'),
    assigned,
    failedOver: text('variant') !== assigned && failed(fields),
    shadow: fields.shadow === true,
    status: text('status', 'ok'),
    latencyMs: number('latencyMs', 0, Number.MAX_VALUE, 0),
    sampleRate,
    propensity: number('propensity', 0, 1, 0),
    pmf: numbers(fields, 'pmf') ?? [],
    eligible: texts(fields, 'eligible'),
    override: number('override', -1, Number.MAX_SAFE_INTEGER, -1),
    role: text('role', 'arm'),
    analysed: fields.analysed !== false,
    features: columns(fields, 'features'),
    predictions: columns(fields, 'predictions'),
    context: numbers(fields, 'context'),
    reward,
  };
}

function numbers(fields: Fields, name: string): number[] | undefined {
  const given = fields[name] ?? undefined;
  if (given === undefined) return undefined;
  if (!Array.isArray(given) || !given.every((item) => typeof item === 'number'))
    throw wrong(name, given, 'a list of numbers');
  return given;
}

function texts(fields: Fields, name: string): string[] {
  const given = fields[name] ?? [];
  if (!Array.isArray(given) || !given.every((item) => typeof item === 'string'))
    throw wrong(name, given, 'a list of texts');
  return given;
}

/** A tensor as the log writes it: `data`, null where there is none. Or `values`, as programs name it. */
interface GivenColumn {
  name: unknown;
  datatype: unknown;
  shape: unknown;
  data: unknown;
  values: unknown;
}

function columns(fields: Fields, name: string): LoggedColumn[] {
  const given = fields[name] ?? [];
  if (!Array.isArray(given)) throw wrong(name, given, 'a list of columns');
  return given.map((column: Partial<GivenColumn> | null, i) => {
    const values = column?.values ?? (column?.data === null ? [] : column?.data);
    const shape = column?.shape ?? (Array.isArray(values) ? [values.length] : undefined);
    const isShape = Array.isArray(shape) && shape.every((dim) => typeof dim === 'number');
    if (typeof column?.name !== 'string' || !Array.isArray(values) || !isShape)
      throw wrong(`${name}[${i}]`, column, '{"name": text, "shape": [numbers], "data": [...] or null}');
    const texts = column.datatype === undefined || column.datatype === 'BYTES';
    return { name: column.name, shape, values: texts ? values : values.map(numberOf) };
  });
}

/** NaN and the infinities are texts in JSON. */
function numberOf(value: unknown): unknown {
  return typeof value === 'string' ? Number(value) : value;
}

function wrong(name: string, value: unknown, allowed: string): TypeError {
  const shown = value === undefined ? 'is missing' : `is ${JSON.stringify(value)?.slice(0, 100)}`;
  return new TypeError(`${name} ${shown}; it must be ${allowed}`);
}
