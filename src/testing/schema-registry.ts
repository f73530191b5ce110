import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A schema registry that has the schemas it is given, and can be away. */
export class PlainSchemaRegistry {
  /** Of its answers, unless it has no such schema. */
  status = 200;
  /** Path and Authorization of each request. */
  readonly asked: string[] = [];
  private readonly server: Server;

  private constructor(schemas: Readonly<Record<string, object>>) {
    this.server = createServer((request, response) => {
      this.asked.push(`${request.url} ${request.headers.authorization ?? ''}`);
      const schema = schemas[request.url?.split('/').at(-1) ?? ''];
      response.statusCode = this.status === 200 && schema === undefined ? 404 : this.status;
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify(schema === undefined ? { message: 'not found' } : { schema: JSON.stringify(schema) }),
      );
    });
  }

  /** @param schemas by id */
  static async open(schemas: Readonly<Record<string, object>>): Promise<PlainSchemaRegistry> {
    const registry = new PlainSchemaRegistry(schemas);
    await new Promise<void>((listening) => registry.server.listen(0, '127.0.0.1', listening));
    return registry;
  }

  /** @param user 'name:password' */
  url(user = ''): string {
    return `http://${user === '' ? '' : `${user}@`}127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}

/** As Confluent's serialisers write it. */
export function framed(id: number, bytes: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeInt32BE(id, 1);
  return Buffer.concat([head, bytes]);
}
