import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { InferResponse, Parameters, ParameterValue } from '../../pipeline/types.ts';
import { encodeInferResponse, encodeStreamError, encodeStreamResponse } from './infer-encoder.ts';
import { INFERENCE_SERVICE, serviceDefinition } from './schema.ts';

const { ModelInfer, ModelStreamInfer } = serviceDefinition(INFERENCE_SERVICE);

interface WireResponse {
  model_name: string;
  model_version: string;
  id: string;
  parameters: Record<string, Record<string, unknown>>;
  outputs: { name: string; datatype: string; shape: string[] }[];
  raw_output_contents: Buffer[];
}

function message(frame: Buffer): Buffer {
  assert.equal(frame[0], 0);
  assert.equal(frame.readUInt32BE(1), frame.length - 5);
  return frame.subarray(5);
}

const text = fc.string({ unit: 'grapheme', maxLength: 150 });
const parameter: fc.Arbitrary<ParameterValue> = fc.oneof(
  fc.boolean(),
  text,
  fc.double(),
  fc.maxSafeInteger(),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
);

const response: fc.Arbitrary<InferResponse> = fc
  .record({
    model: text,
    version: text,
    id: text,
    outputs: fc.array(
      fc.record({
        name: text,
        shape: fc.array(fc.nat({ max: 2 ** 31 }), { maxLength: 4 }),
        data: fc.uint8Array({ maxLength: 300 }),
      }),
      { maxLength: 4 },
    ),
    parameters: fc.option(fc.dictionary(text, parameter, { maxKeys: 4, noNullPrototype: false })),
  })
  .map((made) => ({
    ...made,
    outputs: made.outputs.map((output) => ({ ...output, datatype: 'UINT8' as const })),
    parameters: (made.parameters ?? undefined) as Parameters | undefined,
    timings: undefined,
  }));

/** What protobufjs shows of a parameter, without the fields it fills in. */
function shown(value: Record<string, unknown>): unknown {
  return value[value.parameter_choice as string];
}

function expectParameter(wire: Record<string, unknown>, value: ParameterValue): void {
  if (typeof value === 'bigint' || Number.isSafeInteger(value))
    assert.equal(shown(wire), String(value === 0 ? 0 : value));
  else assert.ok(Object.is(shown(wire), value), `${String(shown(wire))} is not ${String(value)}`);
}

function check(wire: WireResponse, expected: InferResponse): void {
  assert.deepEqual([wire.model_name, wire.model_version, wire.id], [expected.model, expected.version, expected.id]);
  assert.deepEqual(
    wire.outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape: shape.map(Number) })),
    expected.outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape })),
  );
  assert.deepEqual(
    wire.raw_output_contents,
    expected.outputs.map((output) => Buffer.from(output.data)),
  );
  for (const name of Object.keys(expected.parameters ?? {})) {
    expectParameter(wire.parameters[name], expected.parameters![name]);
  }
}

describe('encodeInferResponse', () => {
  it('writes what protobufjs reads, into a frame of exactly its size', () => {
    fc.assert(
      fc.property(response, (made) => {
        const wire = ModelInfer.responseDeserialize(message(encodeInferResponse(made))) as WireResponse;
        check(wire, made);
        assert.equal(Object.keys(wire.parameters).length, Object.keys(made.parameters ?? {}).length);
      }),
      { numRuns: 300 },
    );
  });
});

describe('encodeStreamResponse', () => {
  it('wraps the response and says whether it is the last', () => {
    fc.assert(
      fc.property(response, fc.boolean(), (made, final) => {
        const wire = ModelStreamInfer.responseDeserialize(message(encodeStreamResponse(made, final))) as {
          error_message: string;
          infer_response: WireResponse;
        };
        assert.equal(wire.error_message, '');
        check(wire.infer_response, made);
        assert.equal(wire.infer_response.parameters.triton_final_response.bool_param, final);
      }),
    );
  });

  it('names the request that failed', () => {
    const wire = ModelStreamInfer.responseDeserialize(message(encodeStreamError('nicht möglich', 'r-1', 'm'))) as {
      error_message: string;
      infer_response: WireResponse;
    };
    assert.equal(wire.error_message, 'nicht möglich');
    assert.equal(wire.infer_response.id, 'r-1');
    assert.equal(wire.infer_response.model_name, 'm');
  });
});
