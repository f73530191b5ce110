import type { Column, FeedbackRecord, LogRecord } from '../record.ts';

/** A record as JSON: 64-bit integers in full, NaN and infinities as the texts that v2 clients know. */
export function recordJson(record: LogRecord | FeedbackRecord): string {
  if (!('features' in record)) return JSON.stringify(record);
  const { features, predictions, ...rest } = record;
  const head = JSON.stringify(rest);
  return `${head.slice(0, -1)},"features":${columnsJson(features)},"predictions":${columnsJson(predictions)}}`;
}

/** [{"name", "datatype", "shape", "data"}, …], as the v2 protocol writes tensors; data null: taken out, or kept apart. */
export function columnsJson(columns: readonly Column[]): string {
  return `[${columns.map(columnJson).join()}]`;
}

function columnJson({ name, datatype, shape, values }: Column): string {
  const empty = values.length === 0 && shape.every((dim) => dim > 0);
  const data = empty ? 'null' : `[${valuesJson(values)}]`;
  return `{"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":[${shape}],"data":${data}}`;
}

function valuesJson(values: Column['values']): string {
  let text = '';
  for (let i = 0; i < values.length; i++) text += i === 0 ? valueJson(values[i]) : `,${valueJson(values[i])}`;
  return text;
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
