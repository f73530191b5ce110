import { readFileSync } from 'node:fs';
import { Client, credentials } from '@grpc/grpc-js';
import { INFER_PATH } from './generators/h2load.ts';
import { grpcMessage, grpcOutput } from './payloads.ts';
import type { Ports, Target, Wire, Workload } from './targets/target.ts';
import { TLS_FILES } from './targets/tls.ts';

const TOLERANCE = 1e-4;

/** What one checked request told of a server. */
export interface Probe {
  /** Bytes of the answer's body; on gRPC of its frame. */
  answerBytes: number;
}

/**
 * Sends one request and compares the answer with ONNX Runtime's. Throws, naming both, when they differ by more than 1e-4
 * or the server refuses; a wrong server is not worth measuring.
 */
export async function probe(target: Target, workload: Workload, wire: Wire, ports: Ports): Promise<Probe> {
  if (wire === 'grpc') {
    const answer = await grpcUnary(ports.grpc, grpcMessage(workload.model, workload.row), target.tls === true);
    if (target.computes) compare(target.name, grpcOutput(answer), workload.expected);
    return { answerBytes: answer.length === 0 ? 0 : answer.length + 5 };
  }
  const request = target.request(wire, workload);
  const response = await fetch(`http://127.0.0.1:${ports.http}${request.path}`, {
    method: 'POST',
    headers: request.headers,
    body: Buffer.from(request.body),
  });
  const body = new Uint8Array(await response.arrayBuffer());
  if (!response.ok) {
    throw new Error(`${target.name} answered ${response.status}: ${Buffer.from(body).toString().slice(0, 300)}`);
  }
  if (target.computes) compare(target.name, target.output(response.headers, body), workload.expected);
  return { answerBytes: body.length };
}

/** Throws unless both hold the same numbers within 1e-4. */
export function compare(name: string, actual: readonly number[], expected: readonly number[]): void {
  const same =
    actual.length === expected.length && actual.every((value, i) => Math.abs(value - expected[i]) <= TOLERANCE);
  if (!same) throw new Error(`${name} answered [${actual.join(', ')}], ONNX Runtime [${expected.join(', ')}]`);
}

function grpcUnary(port: number, message: Uint8Array, tls: boolean): Promise<Uint8Array> {
  const creds = tls ? credentials.createSsl(readFileSync(TLS_FILES.ca)) : credentials.createInsecure();
  const client = new Client(`${tls ? 'localhost' : '127.0.0.1'}:${port}`, creds);
  const asIs = (bytes: Buffer): Buffer => bytes;
  return new Promise<Uint8Array>((resolve, reject) => {
    client.makeUnaryRequest(INFER_PATH, asIs, asIs, Buffer.from(message), (error, answer) => {
      client.close();
      if (error) reject(error);
      else resolve(answer ?? new Uint8Array());
    });
  });
}
