/**
 * The Avro schema of records, in the order in which the encoder writes it. What many records share stands together, so
 * that it is copied as one piece. A column's values are in the one of its six arrays that fits its datatype.
 */
const COLUMN = {
  type: 'record',
  name: 'Column',
  namespace: 'dev.switchyard',
  doc: 'A named tensor, row-major. FP16, BF16 and FP32 are in floats, FP64 in doubles, integers in longs (UINT64 as its two’s complement), BOOL in booleans, BYTES in strings, or in binaries where they are no UTF-8. All null: taken out by a redaction, or kept by payloadRef.',
  fields: [
    { name: 'name', type: 'string' },
    { name: 'datatype', type: 'string' },
    { name: 'shape', type: { type: 'array', items: 'long' } },
    { name: 'floats', type: ['null', { type: 'array', items: 'float' }], default: null },
    { name: 'doubles', type: ['null', { type: 'array', items: 'double' }], default: null },
    { name: 'longs', type: ['null', { type: 'array', items: 'long' }], default: null },
    { name: 'booleans', type: ['null', { type: 'array', items: 'boolean' }], default: null },
    { name: 'strings', type: ['null', { type: 'array', items: 'string' }], default: null },
    { name: 'binaries', type: ['null', { type: 'array', items: 'bytes' }], default: null },
  ],
};

const TIMINGS = {
  type: 'record',
  name: 'Timings',
  namespace: 'dev.switchyard',
  doc: 'Milliseconds per stage, and the rows of the batch.',
  fields: [
    { name: 'queue', type: 'double' },
    { name: 'computeInput', type: 'double' },
    { name: 'computeInfer', type: 'double' },
    { name: 'computeOutput', type: 'double' },
    { name: 'batchSize', type: 'double' },
  ],
};

const FALLBACK = {
  type: 'record',
  name: 'Fallback',
  namespace: 'dev.switchyard',
  doc: 'An attempt that failed before the one that counts.',
  fields: [
    { name: 'variant', type: 'string' },
    { name: 'cause', type: 'string' },
  ],
};

const PROPOSED = {
  type: 'record',
  name: 'Proposed',
  namespace: 'dev.switchyard',
  doc: 'What a bandit in apprentice mode would have served, and the distribution it was drawn from.',
  fields: [
    { name: 'variant', type: 'string' },
    { name: 'pmf', type: { type: 'array', items: 'double' } },
  ],
};

export const INFERENCE_SCHEMA = {
  type: 'record',
  name: 'Inference',
  namespace: 'dev.switchyard',
  doc: 'One request, from its first byte to its end.',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'time', type: { type: 'long', logicalType: 'timestamp-millis' } },
    { name: 'entity', type: 'string' },
    { name: 'requestId', type: 'string' },
    { name: 'traceparent', type: 'string' },
    { name: 'route', type: 'string' },
    { name: 'variant', type: 'string' },
    { name: 'assigned', type: 'string' },
    { name: 'model', type: 'string' },
    { name: 'version', type: 'string' },
    { name: 'digest', type: 'string' },
    { name: 'requestedModel', type: 'string' },
    { name: 'tenant', type: 'string' },
    { name: 'protocol', type: 'string' },
    { name: 'role', type: 'string' },
    { name: 'detour', type: 'string' },
    { name: 'shadow', type: 'boolean' },
    { name: 'analysed', type: 'boolean' },
    { name: 'sampleRate', type: 'double' },
    { name: 'schemaVersion', type: 'int' },
    { name: 'status', type: 'string' },
    { name: 'latencyMs', type: 'double' },
    { name: 'timings', type: ['null', TIMINGS], default: null },
    { name: 'propensity', type: 'double' },
    { name: 'stateVersion', type: 'long' },
    { name: 'snapshotVersion', type: 'long' },
    { name: 'pmf', type: { type: 'array', items: 'double' } },
    { name: 'eligible', type: { type: 'array', items: 'string' } },
    { name: 'payloadRef', type: ['null', 'string'], default: null },
    { name: 'payloadSha256', type: ['null', 'string'], default: null },
    { name: 'features', type: { type: 'array', items: COLUMN } },
    { name: 'predictions', type: { type: 'array', items: 'dev.switchyard.Column' } },
    { name: 'redactions', type: { type: 'array', items: 'string' } },
    { name: 'override', type: 'int', default: -1 },
    { name: 'bucket', type: 'int', default: -1 },
    { name: 'fallbacks', type: { type: 'array', items: FALLBACK }, default: [] },
    { name: 'proposed', type: ['null', PROPOSED], default: null },
    { name: 'context', type: { type: 'array', items: 'double' }, default: [] },
  ],
};

export const FEEDBACK_SCHEMA = {
  type: 'record',
  name: 'Feedback',
  namespace: 'dev.switchyard',
  doc: 'A label or a reward that came later, for the record with the same id.',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'time', type: { type: 'long', logicalType: 'timestamp-millis' } },
    { name: 'entity', type: 'string' },
    { name: 'requestId', type: 'string' },
    { name: 'traceparent', type: 'string' },
    { name: 'route', type: 'string' },
    { name: 'model', type: 'string' },
    { name: 'rewards', type: { type: 'map', values: 'double' } },
    { name: 'label', type: ['null', 'string'], default: null },
    { name: 'event', type: ['null', 'string'], default: null },
    { name: 'tenant', type: 'string', default: '' },
  ],
};
