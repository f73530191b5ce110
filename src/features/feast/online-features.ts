import { invalidArgument } from '../../shared/errors.ts';
import { parseExact } from '../../shared/exact-json.ts';
import { type AskedFeatures, askRefs, askService } from '../documents/ask.ts';
import { type Columns, checkCollisions, type FeatureSet } from '../documents/catalog.ts';
import { valueText } from '../documents/values.ts';
import { checkRequestData, derive, isOnDemand } from '../online/derive.ts';
import { type EntityColumns, readRows, rowCount, statusOf, type ViewRows } from '../online/read.ts';
import type { OnlineStore } from '../store/online-store.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true });
/** The time of what has none, in Feast's answers. */
const NO_TIME = '"1970-01-01T00:00:00Z"';

/** A JSON object of a request. Integers keep all their digits. Throws invalid_argument. */
export function readBody(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseExact(utf8.decode(bytes));
  } catch (error) {
    throw invalidArgument(`the body is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw invalidArgument('the body must be a JSON object');
}

/** Columns by name. Throws invalid_argument. */
export function readColumns(value: unknown, what: string): EntityColumns {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidArgument(`${what} must be an object of lists, such as {"driver_id": [1001, 1002]}`);
  const columns = new Map<string, readonly unknown[]>();
  for (const [name, column] of Object.entries(value)) {
    if (!Array.isArray(column)) throw invalidArgument(`${what}.${name.slice(0, 100)} must be a list`);
    columns.set(name, column);
  }
  return columns;
}

export function readNames(value: unknown, what: string): string[] {
  if (!Array.isArray(value) || value.some((each) => typeof each !== 'string'))
    throw invalidArgument(`${what} must be a list of texts`);
  return value as string[];
}

interface OnlineRequest {
  wanted: AskedFeatures;
  entities: EntityColumns;
  rows: number;
  fullNames: boolean;
  versions: boolean;
}

function readRequest(set: FeatureSet, body: Record<string, unknown>, maxRows: number): OnlineRequest {
  const flag = (name: string): boolean => {
    const value = body[name] ?? false;
    if (typeof value !== 'boolean') throw invalidArgument(`${name} must be true or false`);
    return value;
  };
  const service = body.feature_service ?? '';
  if (typeof service !== 'string') throw invalidArgument('feature_service must be a text');
  const wanted = service === '' ? askRefs(set, readNames(body.features ?? [], 'features')) : askService(set, service);
  const fullNames = flag('full_feature_names');
  checkCollisions(wanted.asked, fullNames);
  const entities = readColumns(body.entities, 'entities');
  const rows = rowCount(entities, maxRows);
  checkRequestData(wanted, entities);
  return { wanted, entities, rows, fullNames, versions: flag('include_feature_view_version_metadata') };
}

/**
 * Feast's POST /get-online-features. Answers its JSON text: join keys first, then features by view; each with its
 * values, statuses and event times. Columns that no view joins by are left out, what is computed on demand of them is not. Throws or rejects with SwitchyardError.
 */
export function getOnlineFeatures(
  store: OnlineStore,
  set: FeatureSet,
  tenant: string,
  body: Uint8Array,
  maxRows: number,
): string | Promise<string> {
  const request = readRequest(set, readBody(body), maxRows);
  const { wanted, entities, rows } = request;
  const read = readRows(store, tenant, wanted.selections, entities, rows);
  const answer = (views: ViewRows[]): string => {
    const now = Date.now();
    return answerText(request, askedRows(request, views, now), now);
  };
  return read instanceof Promise ? read.then(answer) : answer(read);
}

/** What was asked for, of what was read for it. */
function askedRows({ wanted, entities, rows }: OnlineRequest, views: readonly ViewRows[], now: number): ViewRows[] {
  const cells = ({ view, field }: { view: Columns; field: number }) => {
    const of = views.find((one) => one.view === view) as ViewRows;
    const at = of.fields.indexOf(field);
    return (row: number) => {
      const found = of.found[of.rows[row]];
      const value = found?.values[at];
      return value !== undefined && statusOf(view, found, value, now) === 'PRESENT' ? value : null;
    };
  };
  return wanted.asked.map(({ view, fields }): ViewRows => {
    if (isOnDemand(view)) {
      const columns = fields.map((field) => derive(view, field, entities, rows, cells));
      const found = Array.from({ length: rows }, (_, row) => ({
        time: 0,
        values: columns.map((values) => values[row]),
      }));
      return { view, fields, rows: found.map((_, row) => row), found };
    }
    const of = views.find((one) => one.view === view) as ViewRows;
    if (of.fields.length === fields.length) return of;
    const places = fields.map((field) => of.fields.indexOf(field));
    const found = of.found.map((row) => row && { ...row, values: places.map((at) => row.values[at]) });
    return { view, fields, rows: of.rows, found };
  });
}

function answerText({ wanted, entities, rows, fullNames, versions }: OnlineRequest, views: ViewRows[], now: number) {
  const types = new Map(
    wanted.selections.flatMap(({ view }) => view.joinKeys.map(({ name, type }) => [name, type] as const)),
  );
  const names: string[] = [];
  const results: string[] = [];
  for (const [name, column] of entities) {
    const type = types.get(name);
    if (type === undefined) continue;
    names.push(name);
    const values = column.map((value) => (type === 'string' ? JSON.stringify(value) : String(value)));
    results.push(vector(values, repeated('"PRESENT"', rows), repeated(NO_TIME, rows)));
  }
  for (const { view, fields, rows: of, found } of views) {
    const times = found.map((row) => (row === undefined ? NO_TIME : timeText(row.time)));
    const timesText = of.map((position) => times[position]).join();
    for (const [i, field] of fields.entries()) {
      names.push(fullNames ? `${view.name}__${view.names[field]}` : view.names[field]);
      const values = new Array<string>(found.length);
      const statuses = new Array<string>(found.length);
      for (let row = 0; row < found.length; row++) {
        const value = found[row]?.values[i];
        values[row] = value === undefined ? 'null' : valueText(value);
        statuses[row] = `"${statusOf(view, found[row], value, now)}"`;
      }
      results.push(
        vector(
          of.map((position) => values[position]),
          of.map((position) => statuses[position]).join(),
          timesText,
        ),
      );
    }
  }
  const metadata: Record<string, unknown> = { feature_names: names };
  if (versions) metadata.feature_view_metadata = views.map(({ view }) => ({ name: view.name }));
  return `{"results":[${results.join()}],"metadata":${JSON.stringify(metadata)}}`;
}

function vector(values: readonly string[], statuses: string, times: string): string {
  return `{"values":[${values.join()}],"statuses":[${statuses}],"event_timestamps":[${times}]}`;
}

function repeated(text: string, count: number): string {
  return new Array<string>(count).fill(text).join();
}

/** RFC 3339; without a fraction where there is none. */
export function timeText(ms: number): string {
  const text = new Date(ms).toISOString();
  return ms % 1000 === 0 ? `"${text.slice(0, 19)}Z"` : `"${text}"`;
}
