// A registry in a process of its own, to be killed. It opens when its standard input says what:
// {settings, port} as one line of JSON, and prints its port. See registry-process.ts, which bundles it into one file.
import { once } from 'node:events';
import http from 'node:http';
import { openRegistry } from '../registry/registry.ts';

async function main() {
  const [line] = await once(process.stdin.setEncoding('utf8'), 'data');
  const { settings, port } = JSON.parse(line);
  const registry = await openRegistry(settings, { error: (fields, message) => console.error(message, fields.err) });
  const server = http.createServer((request, response) => {
    const [path, query = ''] = (request.url ?? '').split('?');
    const contentLength = Number(request.headers['content-length'] ?? -1);
    const method = request.method ?? '';
    void registry.rest.serve({ method, path, query, contentLength, actor: 'tester', request, response });
  });
  server.listen(port, '127.0.0.1', () => console.log(server.address().port));
}

void main();
