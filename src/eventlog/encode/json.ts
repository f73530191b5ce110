import { MAX_NUMBER_BYTES, printFloat32, printFloat64 } from '../../protocol/json/number-print.ts';
import { type Column, type FeedbackRecord, isWithheld, type LogRecord } from '../record.ts';

const COMMA = 0x2c;
const QUOTE = 0x22;

/**
 * A record as JSON, its fields in the order of the schema: 64-bit integers in full, NaN and infinities as the texts that
 * v2 clients know. native/src/record_json.cc prints the same bytes.
 */
export function recordJson(record: LogRecord | FeedbackRecord): string {
  if (!('features' in record)) return JSON.stringify(record);
  const { features, predictions, redactions, override, bucket, fallbacks, proposed, context, ...before } = record;
  const head = JSON.stringify(before);
  const rest = JSON.stringify({ redactions, override, bucket, fallbacks, proposed, context });
  const columns = `"features":${columnsJson(features)},"predictions":${columnsJson(predictions)}`;
  return `${head.slice(0, -1)},${columns},${rest.slice(1)}`;
}

/** [{"name", "datatype", "shape", "data"}, …], as the v2 protocol writes tensors; data null: taken out, or kept apart. */
export function columnsJson(columns: readonly Column[]): string {
  return `[${columns.map(columnJson).join()}]`;
}

function columnJson(column: Column): string {
  const { name, datatype, shape } = column;
  const data = isWithheld(column) ? 'null' : `[${valuesJson(column)}]`;
  return `{"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":[${shape}],"data":${data}}`;
}

function valuesJson(column: Column): string {
  const { values } = column;
  const floats = floatsOf(column);
  if (floats !== undefined) return floatsJson(floats);
  let text = '';
  for (let i = 0; i < values.length; i++) text += i === 0 ? valueJson(values[i]) : `,${valueJson(values[i])}`;
  return text;
}

/** Undefined: they are none, or came as JSON with something else among them. */
function floatsOf({ datatype, values }: Column): Float32Array | Float64Array | undefined {
  if (values instanceof Float32Array || values instanceof Float64Array) return values;
  if (!Array.isArray(values) || values.some((value) => typeof value !== 'number')) return undefined;
  if (datatype === 'FP64') return Float64Array.from(values);
  return datatype === 'FP32' || datatype === 'FP16' || datatype === 'BF16' ? Float32Array.from(values) : undefined;
}

/** With as many digits as answers show: enough to tell a float from its neighbours. */
function floatsJson(values: Float32Array | Float64Array): string {
  const print = values instanceof Float32Array ? printFloat32 : printFloat64;
  const out = Buffer.allocUnsafe(values.length * (MAX_NUMBER_BYTES + 3));
  let at = 0;
  for (let i = 0; i < values.length; i++) {
    if (i > 0) out[at++] = COMMA;
    const quoted = !Number.isFinite(values[i]);
    if (quoted) out[at++] = QUOTE;
    at = print(out, at, values[i]);
    if (quoted) out[at++] = QUOTE;
  }
  return out.toString('latin1', 0, at);
}

function valueJson(value: number | bigint | boolean | string | null): string {
  if (typeof value === 'number') return value - value === 0 ? String(value) : `"${value}"`;
  if (typeof value === 'bigint') return String(value);
  return JSON.stringify(value);
}

/** SageMaker's data capture line. Feedback has no such form. */
export function sagemakerLine(record: LogRecord): string {
  const side = (mode: 'INPUT' | 'OUTPUT', columns: readonly Column[]) => ({
    observedContentType: 'application/json',
    mode,
    data: `{"${mode === 'INPUT' ? 'inputs' : 'outputs'}":${columnsJson(columns)}}`,
    encoding: 'JSON',
  });
  return JSON.stringify({
    captureData: {
      endpointInput: side('INPUT', record.features),
      ...(record.status === 'ok' ? { endpointOutput: side('OUTPUT', record.predictions) } : {}),
    },
    eventMetadata: {
      eventId: record.id,
      ...(record.requestId === '' ? {} : { inferenceId: record.requestId }),
      inferenceTime: new Date(record.time).toISOString().replace(/\.\d+Z$/, 'Z'),
    },
    eventVersion: '0',
  });
}
