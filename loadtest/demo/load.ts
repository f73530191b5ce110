import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { Metadata } from '@grpc/grpc-js';
import { INFERENCE_SERVICE, serviceDefinition } from '../../src/protocol/grpc/schema.ts';
import { TestClient } from '../../src/testing/grpc-client.ts';

export interface Load {
  answered: number;
  failed: number;
  stop(): Promise<void>;
}

const WORKERS = 12;
const USERS = 5000;

interface Example {
  inputs: { name: string; datatype: string; shape: number[]; data: number[] }[];
}

/** Users of the digits model over HTTP, each request waited for. */
export function httpLoad(port: number, config: string): Load {
  const body = readFileSync(join(config, 'models/digits/example.json'));
  const agent = new Agent({ keepAlive: true, maxSockets: WORKERS });
  const ask = (user: string): Promise<boolean> =>
    new Promise((resolve) => {
      const headers = { 'x-user-id': user, 'content-length': body.length };
      const sent = request(
        { host: '127.0.0.1', port, agent, method: 'POST', path: '/v2/models/digits/infer', headers },
        (response) => {
          response.resume();
          response.on('end', () => resolve(response.statusCode === 200));
          response.on('error', () => resolve(false));
        },
      );
      sent.on('error', () => resolve(false));
      sent.end(body);
    });
  return generate(ask, () => agent.destroy());
}

/** The same over gRPC. */
export function grpcLoad(port: number, config: string): Load {
  const example = JSON.parse(readFileSync(join(config, 'models/digits/example.json'), 'utf8')) as Example;
  const [{ name, datatype, shape, data }] = example.inputs;
  const message = { model_name: 'digits', inputs: [{ name, datatype, shape, contents: { fp32_contents: data } }] };
  const client = new TestClient(port, serviceDefinition(INFERENCE_SERVICE));
  const ask = async (user: string): Promise<boolean> => {
    const metadata = new Metadata();
    metadata.set('x-user-id', user);
    try {
      await client.unary('ModelInfer', message, { metadata });
      return true;
    } catch {
      return false;
    }
  };
  return generate(ask, () => client.close());
}

function generate(ask: (user: string) => Promise<boolean>, close: () => void): Load {
  let running = true;
  const load = { answered: 0, failed: 0, stop: async () => {} };
  const work = async (): Promise<void> => {
    while (running) {
      const user = `user-${Math.floor(Math.random() * USERS)}`;
      if (await ask(user)) load.answered++;
      else load.failed++;
    }
  };
  const workers = Promise.all(Array.from({ length: WORKERS }, work));
  load.stop = async () => {
    running = false;
    await workers;
    close();
  };
  return load;
}
