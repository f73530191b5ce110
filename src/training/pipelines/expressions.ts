/** Values of a document that are known only when it runs: `${parameters.epochs}`, `${environment.data.digits}`. */
const EXPRESSION = /\$\{(parameters|environment)\.([A-Za-z][\w-]*(?:\.[A-Za-z][\w-]*)*)\}/g;
const WHOLE = new RegExp(`^${EXPRESSION.source}$`);

/** What expressions may name: `parameters.x`, `environment.data.x` and so on → its value. */
export type Names = ReadonlyMap<string, string | number | boolean>;

export interface Unresolved {
  path: PropertyKey[];
  name: string;
}

/**
 * The value with its expressions replaced. A text that is one expression gets the value with its type; inside a longer
 * text the value becomes text. What `names` lacks stays as it is and is listed.
 */
export function substitute(value: unknown, names: Names): { value: unknown; unresolved: Unresolved[] } {
  const unresolved: Unresolved[] = [];
  const walk = (part: unknown, path: PropertyKey[]): unknown => {
    if (typeof part === 'string') return text(part, path);
    if (Array.isArray(part)) return part.map((item, i) => walk(item, [...path, i]));
    if (typeof part !== 'object' || part === null || isCode(path)) return part;
    return Object.fromEntries(Object.entries(part).map(([key, inner]) => [key, walk(inner, [...path, key])]));
  };
  const text = (template: string, path: PropertyKey[]): unknown => {
    const whole = WHOLE.exec(template);
    const known = whole === null ? undefined : names.get(`${whole[1]}.${whole[2]}`);
    if (known !== undefined) return known;
    return template.replace(EXPRESSION, (expression, root: string, rest: string) => {
      const found = names.get(`${root}.${rest}`);
      if (found !== undefined) return String(found);
      unresolved.push({ path, name: `${root}.${rest}` });
      return expression;
    });
  };
  return { value: walk(value, []), unresolved };
}

/** Files of jobs are taken as they are: shells have the same notation. */
function isCode(path: readonly PropertyKey[]): boolean {
  return path.length >= 2 && path[path.length - 1] === 'files' && path[path.length - 2] === 'job';
}
