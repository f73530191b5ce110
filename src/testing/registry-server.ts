import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { openRegistry } from '../registry/registry.ts';
import { registrySettings } from './registry.ts';

// A registry in a process of its own, to be killed: node --import tsx registry-server.ts <dataDir> [<database>]. Prints its
// port.
const [dataDir, database = 'sqlite'] = process.argv.slice(2);
const registry = await openRegistry(registrySettings(dataDir, database), {
  error: (fields, message) => console.error(message, fields.err),
});
const server = http.createServer((request, response) => {
  const [path, query = ''] = (request.url ?? '').split('?');
  const contentLength = Number(request.headers['content-length'] ?? -1);
  const method = request.method ?? '';
  void registry.rest.serve({ method, path, query, contentLength, actor: 'tester', request, response });
});
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port));
