import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { planWindows, type WindowPlan } from '../windows/plan.ts';
import { compileOnDemand, type OnDemandView } from './on-demand.ts';
import type { EntityDocument, FeatureDocument, FeatureServiceDocument, FeatureViewDocument } from './schema.ts';
import { type EntityType, type FeatureType, readKey } from './values.ts';

export interface Field {
  name: string;
  type: FeatureType;
  /** 0: one value; otherwise a vector of so many. */
  length: number;
  default: number | string | boolean;
}

/** What a view of either kind answers. */
export interface Columns {
  name: string;
  fields: readonly Field[];
  /** Names of `fields`, in order. */
  names: readonly string[];
  /** Position in `fields` by name. */
  index: ReadonlyMap<string, number>;
  /** 0: values do not age. */
  ttlMs: number;
}

/** A feature view as reading and writing need it. */
export interface View extends Columns {
  joinKeys: readonly { name: string; type: EntityType }[];
  shared: boolean;
  timestamp: string;
  /** Of a view whose features are aggregates of events. */
  windows: WindowPlan | undefined;
  document: FeatureViewDocument;
}

export interface FeatureSet {
  entities: ReadonlyMap<string, EntityDocument>;
  views: ReadonlyMap<string, View>;
  onDemand: ReadonlyMap<string, OnDemandView>;
  services: ReadonlyMap<string, FeatureServiceDocument>;
}

/** Features of one view, by their positions in it. */
export interface Selection {
  view: View;
  fields: readonly number[];
}

export interface DocumentProblem {
  /** Which of the documents. */
  at: number;
  path: PropertyKey[];
  message: string;
}

/** Puts documents together. Returns everything that is wrong among them; what is not named there is in the set. */
export function buildSet(documents: readonly FeatureDocument[]): { set: FeatureSet; problems: DocumentProblem[] } {
  const problems: DocumentProblem[] = [];
  const entities = new Map<string, EntityDocument>();
  const views = new Map<string, View>();
  const onDemand = new Map<string, OnDemandView>();
  const services = new Map<string, FeatureServiceDocument>();
  const seen = new Set<string>();
  for (const [at, { kind, metadata }] of documents.entries()) {
    const key = `${kind} ${metadata.name}`;
    if (seen.has(key)) problems.push({ at, path: ['metadata', 'name'], message: `there is another ${key}` });
    seen.add(key);
  }
  for (const document of documents) if (document.kind === 'Entity') entities.set(document.metadata.name, document);
  for (const [at, document] of documents.entries()) {
    if (document.kind !== 'FeatureView') continue;
    const found = viewProblems(document, entities);
    problems.push(...found.map((problem) => ({ at, ...problem })));
    if (found.length === 0) views.set(document.metadata.name, compile(document, entities));
  }
  for (const [at, document] of documents.entries()) {
    if (document.kind !== 'OnDemandFeatureView') continue;
    const { view, problems: found } = compileOnDemand(document, views);
    problems.push(...found.map((problem) => ({ at, ...problem })));
    if (found.length === 0) onDemand.set(view.name, view);
  }
  const all = new Map<string, Columns>([...views, ...onDemand]);
  for (const [at, document] of documents.entries()) {
    if (document.kind !== 'FeatureService') continue;
    const found = serviceProblems(document, all);
    problems.push(...found.map((problem) => ({ at, ...problem })));
    if (found.length === 0) services.set(document.metadata.name, document);
  }
  return { set: { entities, views, onDemand, services }, problems };
}

const EMPTY: FeatureSet = { entities: new Map(), views: new Map(), onDemand: new Map(), services: new Map() };
export const emptySet = (): FeatureSet => EMPTY;

type Problem = Omit<DocumentProblem, 'at'>;

function viewProblems({ spec }: FeatureViewDocument, entities: ReadonlyMap<string, EntityDocument>): Problem[] {
  const problems: Problem[] = [];
  const keys = new Set<string>();
  for (const [i, name] of spec.entities.entries()) {
    const entity = entities.get(name);
    if (entity === undefined) {
      const there = [...entities.keys()].join(', ') || 'none';
      problems.push({ path: ['spec', 'entities', i], message: `there is no Entity ${name}; there are ${there}` });
      continue;
    }
    const { joinKey } = entity.spec;
    if (keys.has(joinKey))
      problems.push({ path: ['spec', 'entities', i], message: `two entities have the join key ${joinKey}` });
    keys.add(joinKey);
  }
  for (const [i, { name }] of spec.features.entries())
    if (keys.has(name) || name === spec.source.timestamp)
      problems.push({
        path: ['spec', 'features', i, 'name'],
        message: `${name} is the name of a join key or of the timestamp`,
      });
  return problems;
}

function serviceProblems({ spec }: FeatureServiceDocument, views: ReadonlyMap<string, Columns>): Problem[] {
  const problems: Problem[] = [];
  for (const [i, part] of spec.features.entries()) {
    const view = views.get(part.view);
    const path = ['spec', 'features', i];
    if (view === undefined) {
      const there = [...views.keys()].join(', ') || 'none';
      problems.push({ path: [...path, 'view'], message: `there is no FeatureView ${part.view}; there are ${there}` });
      continue;
    }
    for (const [j, name] of (part.features ?? []).entries())
      if (!view.index.has(name))
        problems.push({
          path: [...path, 'features', j],
          message: `FeatureView ${part.view} has no feature ${name}; it has ${view.names.join(', ')}`,
        });
  }
  return problems;
}

function compile(document: FeatureViewDocument, entities: ReadonlyMap<string, EntityDocument>): View {
  const { spec, metadata } = document;
  const fields = spec.features.map(({ name, type, length, default: value }) => ({
    name,
    type,
    length,
    default: value ?? (type === 'string' ? '' : type === 'bool' ? false : 0),
  }));
  const names = fields.map(({ name }) => name);
  return {
    name: metadata.name,
    joinKeys: spec.entities.map((name) => {
      const { joinKey, type } = (entities.get(name) as EntityDocument).spec;
      return { name: joinKey, type };
    }),
    fields,
    names,
    index: new Map(names.map((name, i) => [name, i])),
    ttlMs: spec.ttl,
    shared: spec.scope === 'shared',
    timestamp: spec.source.timestamp,
    windows: planWindows(document),
    document,
  };
}

/** Throws not_found naming what there is. */
export function viewOf(set: FeatureSet, name: string): View {
  const view = set.views.get(name);
  if (view !== undefined) return view;
  if (set.onDemand.has(name))
    throw new SwitchyardError(
      'failed_precondition',
      `feature view ${JSON.stringify(name)} is computed on demand: it has no rows of its own, and comes by get-online-features and historical only`,
    );
  throw new SwitchyardError(
    'not_found',
    `Feature view ${JSON.stringify(name.slice(0, 100))} does not exist; there are ${[...set.views.keys()].slice(0, 20).join(', ') || 'none'}`,
  );
}

/** "view:feature" or "view:*"-less references, grouped by view in the order of first mention, as Feast groups them. Throws. */
export function selectRefs(set: FeatureSet, refs: readonly string[]): Selection[] {
  if (refs.length === 0) throw invalidArgument('No features specified for retrieval');
  const groups = new Map<View, number[]>();
  for (const ref of refs) {
    const colon = ref.indexOf(':');
    if (colon <= 0)
      throw invalidArgument(`features: ${JSON.stringify(ref.slice(0, 100))} is not of the form "view:feature"`);
    const view = viewOf(set, ref.slice(0, colon));
    const position = view.index.get(ref.slice(colon + 1));
    if (position === undefined)
      throw invalidArgument(
        `feature view ${view.name} has no feature ${JSON.stringify(ref.slice(colon + 1, colon + 101))}; it has ${view.names.slice(0, 50).join(', ')}`,
      );
    const group = groups.get(view);
    if (group === undefined) groups.set(view, [position]);
    else group.push(position);
  }
  return [...groups].map(([view, fields]) => ({ view, fields }));
}

/** Throws invalid_argument when two features would have the same name in an answer. */
export function checkCollisions(
  selections: readonly { view: Columns; fields: readonly number[] }[],
  fullNames: boolean,
): void {
  const seen = new Map<string, string>();
  for (const { view, fields } of selections)
    for (const field of fields) {
      const ref = `${view.name}:${view.names[field]}`;
      const name = fullNames ? ref : view.names[field];
      const other = seen.get(name);
      if (other !== undefined)
        throw invalidArgument(
          fullNames
            ? `features: ${ref} is asked for twice`
            : `features: ${other} and ${ref} have the same name; set full_feature_names to true to tell them apart`,
        );
      seen.set(name, ref);
    }
}

/** The key a row is stored under: of one entity its text, of several a list of texts. Throws invalid_argument. */
export function entityKey(view: View, valueAt: (joinKey: string) => unknown, where: string): string {
  const { joinKeys } = view;
  if (joinKeys.length === 1) return readKey(joinKeys[0].type, valueAt(joinKeys[0].name), `${where}${joinKeys[0].name}`);
  return JSON.stringify(joinKeys.map(({ name, type }) => readKey(type, valueAt(name), `${where}${name}`)));
}
