import { Reader, Writer } from 'protobufjs';

/** One HTTP request a load generator sends again and again. */
export interface HttpRequest {
  path: string;
  headers: Record<string, string>;
  body: Uint8Array;
}

const JSON_TYPE = { 'content-type': 'application/json' };

/** `{…}` posted to a server with its own JSON form. */
export function plainJson(path: string, body: unknown): HttpRequest {
  return { path, headers: JSON_TYPE, body: Buffer.from(JSON.stringify(body)) };
}

/** Triton v2 inference request of one row of FP32 input `x`, in JSON. */
export function v2Json(model: string, row: Float32Array): HttpRequest {
  const data = Array.from(row, (v) => Number(v.toPrecision(6)));
  return plainJson(`/v2/models/${model}/infer`, {
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, row.length], data }],
  });
}

/** The same with binary input and binary output. */
export function v2Binary(model: string, row: Float32Array): HttpRequest {
  const header = JSON.stringify({
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, row.length], parameters: { binary_data_size: row.byteLength } }],
    outputs: [{ name: 'y', parameters: { binary_data: true } }],
  });
  return {
    path: `/v2/models/${model}/infer`,
    headers: {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': String(Buffer.byteLength(header)),
    },
    body: Buffer.concat([Buffer.from(header), Buffer.from(row.buffer, row.byteOffset, row.byteLength)]),
  };
}

/** inference.ModelInferRequest of the same row, with raw contents. */
export function grpcMessage(model: string, row: Float32Array): Uint8Array {
  const writer = new Writer();
  writer.uint32((1 << 3) | 2).string(model);
  writer.uint32((5 << 3) | 2).fork();
  writer.uint32((1 << 3) | 2).string('x');
  writer.uint32((2 << 3) | 2).string('FP32');
  writer
    .uint32((3 << 3) | 2)
    .fork()
    .int64(1)
    .int64(row.length)
    .ldelim();
  writer.ldelim();
  writer.uint32((7 << 3) | 2).bytes(new Uint8Array(row.buffer, row.byteOffset, row.byteLength));
  return writer.finish();
}

/** A message in gRPC's length-prefixed frame, uncompressed: what an HTTP/2 load generator posts as it stands. */
export function grpcFrame(message: Uint8Array): Uint8Array {
  const frame = Buffer.alloc(5 + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  return frame;
}

/** FP32 values of the first raw output of a ModelInferResponse. Throws when there is none. */
export function grpcOutput(message: Uint8Array): number[] {
  const reader = Reader.create(message);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag >>> 3 === 6) return floats(reader.bytes());
    reader.skipType(tag & 7);
  }
  throw new Error('the answer has no raw_output_contents');
}

/** FP32 values of output `y` of a v2 HTTP answer, JSON or binary. */
export function v2Output(headers: Headers, body: Uint8Array): number[] {
  const jsonLength = headers.get('inference-header-content-length');
  if (jsonLength !== null) return floats(body.subarray(Number(jsonLength)));
  const answer = JSON.parse(Buffer.from(body).toString()) as { outputs: { data: number[] }[] };
  return answer.outputs[0].data;
}

function floats(bytes: Uint8Array): number[] {
  const copy = Uint8Array.from(bytes);
  return Array.from(new Float32Array(copy.buffer, 0, copy.byteLength >> 2));
}
