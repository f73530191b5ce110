import { readFileSync } from 'node:fs';
import type { Document } from 'yaml';
import { checkMeasuringTime } from './rollout-time.ts';
import type { RouteDocument, TemplateDocument } from './route-schema.ts';
import { routeDocumentSchema } from './route-schema.ts';
import {
  ConfigError,
  describe,
  located,
  type Problem,
  place,
  placeText,
  readYaml,
  type YamlFile,
} from './yaml-file.ts';

/** All routes and templates of a configuration, checked with one another. Swapped whole, or not at all. */
export interface RouteSet {
  routes: RouteDocument[];
  templates: Map<string, TemplateDocument>;
  /** Where variants are written, as file:line:column, by {@link variantKey}. */
  places: ReadonlyMap<string, string>;
}

export function variantKey(route: string, variant: string): string {
  return `${route}\n${variant}`;
}

export interface RouteFile {
  file: string;
  text: string;
  /** The text is not what anybody wrote: its problems are told by their path alone, without a line. */
  generated?: boolean;
}

/** True for a model that the repository or the registry has. */
export type KnowsModel = (model: string) => boolean;

/** What routes may count on, as far as it is known where they are checked. */
export interface RouteContext {
  /** Absent: any model may be there. */
  knowsModel?: KnowsModel | undefined;
  /** Whether brokers are configured; absent: they may be. */
  kafka?: boolean;
}

/** Throws ConfigError with the problems of all files. */
export function loadRouteFiles(files: readonly string[], context?: RouteContext): RouteSet {
  return parseRoutes(readRouteFiles(files), context);
}

/** Throws ConfigError naming every file that cannot be read. */
export function readRouteFiles(files: readonly string[]): RouteFile[] {
  const problems: string[] = [];
  const read = files.flatMap((file): RouteFile[] => {
    try {
      return [{ file, text: readFileSync(file, 'utf8') }];
    } catch (error) {
      problems.push(`${file}: cannot be read: ${(error as Error).message}`);
      return [];
    }
  });
  if (problems.length > 0) throw new ConfigError(problems);
  return read;
}

interface Parsed {
  yaml: YamlFile;
  document: Document;
  /** As it was read, and as the schema reads that. */
  plain: unknown;
  value: RouteDocument | TemplateDocument;
}

export function parseRoutes(files: readonly RouteFile[], context: RouteContext = {}): RouteSet {
  const { parsed, problems } = parseDocuments(files);
  problems.push(...checkTogether(parsed, context));
  if (problems.length > 0) throw new ConfigError(problems);
  const values = parsed.map(({ value }) => value);
  return {
    routes: values.filter((value): value is RouteDocument => value.kind === 'Route'),
    templates: new Map(
      values.flatMap((value) => (value.kind === 'AnalysisTemplate' ? [[value.metadata.name, value]] : [])),
    ),
    places: new Map(parsed.flatMap(placesOf)),
  };
}

/**
 * The documents as they are written, each checked by itself: what they refer to may be elsewhere. Throws ConfigError
 * with the problems of all files.
 */
export function readRouteDocuments(files: readonly RouteFile[]): unknown[] {
  const { parsed, problems } = parseDocuments(files);
  if (problems.length > 0) throw new ConfigError(problems);
  return parsed.map(({ plain }) => plain);
}

function parseDocuments(files: readonly RouteFile[]): { parsed: Parsed[]; problems: string[] } {
  const problems: string[] = [];
  const parsed: Parsed[] = [];
  for (const { file, text, generated } of files) {
    try {
      const yaml = { ...readYaml(text, file), generated };
      const found: Problem[] = [];
      for (const { plain, document } of yaml.documents) {
        if (plain === null) continue;
        const result = routeDocumentSchema.safeParse(plain);
        if (result.success) parsed.push({ yaml, document, plain, value: inOneOrder(result.data) });
        else found.push(...result.error.issues.flatMap((issue) => describe(issue, document)));
      }
      problems.push(...located(yaml, found));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
    }
  }
  return { parsed, problems };
}

/**
 * Shares in an order of their own (control first, then by name): buckets, sample ratios and waiting decisions refer to
 * their places, and mean the same however the document lists them.
 */
function inOneOrder(value: RouteDocument | TemplateDocument): RouteDocument | TemplateDocument {
  if (value.kind !== 'Route') return value;
  const { weighted, experiment } = value.spec.strategy;
  if (weighted !== undefined) value.spec.strategy.weighted = sorted(weighted, undefined);
  if (experiment !== undefined) {
    const { split, control = Object.keys(split)[0], ...others } = experiment;
    value.spec.strategy.experiment = { ...others, control, split: sorted(split, control) };
  }
  return value;
}

function sorted(shares: Record<string, number>, first: string | undefined): Record<string, number> {
  const names = Object.keys(shares).sort();
  const order = first === undefined ? names : [first, ...names.filter((name) => name !== first)];
  return Object.fromEntries(order.map((name) => [name, shares[name]]));
}

function placesOf({ yaml, document, value }: Parsed): [string, string][] {
  if (value.kind !== 'Route') return [];
  return Object.keys(value.spec.variants).map((variant) => {
    const at = placeText(yaml, place(['spec', 'variants', variant], document));
    return [variantKey(value.metadata.name, variant), at];
  });
}

/** Names that are taken twice, templates that do not exist or cannot work here, models nobody has. */
function checkTogether(parsed: readonly Parsed[], { knowsModel = () => true, kafka = true }: RouteContext): string[] {
  const problems: string[] = [];
  const seen = new Set<string>();
  const templates = new Map<string, TemplateDocument>();
  for (const { value } of parsed) if (value.kind === 'AnalysisTemplate') templates.set(value.metadata.name, value);
  for (const { yaml, document, value } of parsed) {
    const found: Problem[] = [];
    const report = (path: PropertyKey[], message: string) =>
      found.push({ offset: place(path, document), message: `${path.join('.')}: ${message}` });
    const key = `${value.kind} ${value.metadata.name}`;
    if (seen.has(key)) report(['metadata', 'name'], `there is another ${key}`);
    seen.add(key);
    if (value.kind === 'Route') {
      for (const [name, { model }] of Object.entries(value.spec.variants)) {
        if (!knowsModel(model)) {
          report(
            ['spec', 'variants', name, 'model'],
            `no model is called ${JSON.stringify(model)}; load it first, or correct the name`,
          );
        }
      }
      checkTemplates(value, templates, report);
      if (!kafka) checkNoTopic(value, report);
    }
    problems.push(...located(yaml, found));
  }
  return problems;
}

function checkNoTopic({ spec }: RouteDocument, report: (path: PropertyKey[], message: string) => void): void {
  for (const strategy of ['bandit', 'experiment'] as const) {
    if (spec.strategy[strategy]?.reward.topic === undefined) continue;
    report(
      ['spec', 'strategy', strategy, 'reward', 'topic'],
      'no Kafka is configured; name its addresses in kafka.brokers of the configuration, or leave the topic out',
    );
  }
}

function checkTemplates(
  { spec }: RouteDocument,
  templates: ReadonlyMap<string, TemplateDocument>,
  report: (path: PropertyKey[], message: string) => void,
): void {
  const { canary } = spec.strategy;
  if (canary === undefined) return;
  let mirrored = spec.shadow?.variant === canary.candidate && spec.shadow.sample > 0;
  // Requests are compared with a slice of stable's, and of none or all of the traffic there is none.
  const compared = (weight: number): boolean => weight > 0 && weight < 100;
  let weight = 0;
  const check = (names: readonly string[], path: PropertyKey[], comparable: boolean) => {
    names.forEach((name, i) => {
      const template = templates.get(name);
      if (template === undefined) {
        const known = [...templates.keys()].join(', ') || 'none';
        report([...path, i], `no AnalysisTemplate is called ${JSON.stringify(name)}; there are: ${known}`);
        return;
      }
      for (const metric of template.spec.metrics) {
        if (metric.test === 'shadowMismatch' && !mirrored) {
          report(
            [...path, i],
            `metric ${metric.name} compares shadowed answers, and nothing is mirrored to the candidate before; add setMirror or shadow`,
          );
        }
        if ((metric.test === 'errorRate' || metric.test === 'latencyQuantile') && !comparable) {
          const why = weight >= 100 ? 'stable serves none here' : 'the candidate serves none here';
          report(
            [...path, i],
            `metric ${metric.name} compares requests that both versions serve, and ${why}; put a setWeight above 0 and below 100 before it`,
          );
        }
      }
    });
  };
  canary.steps.forEach((step, i) => {
    if (step.setMirror) mirrored ||= step.setMirror.percent > 0;
    if (step.setWeight !== undefined) weight = step.setWeight;
    if (step.analysis)
      check(
        step.analysis.templates,
        ['spec', 'strategy', 'canary', 'steps', i, 'analysis', 'templates'],
        compared(weight),
      );
  });
  const ever = canary.steps.some(({ setWeight }) => setWeight !== undefined && compared(setWeight));
  if (canary.background)
    check(canary.background.templates, ['spec', 'strategy', 'canary', 'background', 'templates'], ever);
  checkMeasuringTime(canary, templates, report);
}
