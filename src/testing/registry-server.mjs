// A registry of the built program in a process of its own, to be killed: node registry-server.mjs <settings as JSON> [<port>].
// It prints its port. Built, so that it starts without a loader: tests that kill it hundreds of times wait for little else.
import http from 'node:http';
import { openRegistry } from '../../dist/registry/registry.js';

const [settings, port = '0'] = process.argv.slice(2);
const registry = await openRegistry(JSON.parse(settings), {
  error: (fields, message) => console.error(message, fields.err),
});
const server = http.createServer((request, response) => {
  const [path, query = ''] = (request.url ?? '').split('?');
  const contentLength = Number(request.headers['content-length'] ?? -1);
  const method = request.method ?? '';
  void registry.rest.serve({ method, path, query, contentLength, actor: 'tester', request, response });
});
server.listen(Number(port), '127.0.0.1', () => console.log(server.address().port));
