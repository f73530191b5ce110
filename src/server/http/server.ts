import { decodeInferRequest } from '../../protocol/v2/json-scanner.ts';
import { encodeInferResponse } from '../../protocol/v2/json-writer.ts';
import { monotonicMs } from '../../shared/clock.ts';
import { toSwitchyardError } from '../../shared/errors.ts';
import { listen } from './open.ts';
export async function startHttpServer(services: any, options: any): Promise<any> {
  const server = await listen(options, { onRequest(head: any, ex: any) {
    const m = /^\/v2\/models\/([^/]+)\/infer$/.exec(head.path);
    if (head.path === '/v2/health/ready') { ex.respond(services.server.ready() ? 200 : 503, '', ''); return; }
    if (!m) { ex.respond(404, '', ''); return; }
    const model = m[1];
    ex.receive({ onAbort() {}, onBody(body: Uint8Array, owned: boolean) {
      try {
        const request = decodeInferRequest(model, '', owned ? body : body.slice(), -1);
        services.dataPlane.infer(request, { protocol: 'http', tenant: 'default', receivedAt: monotonicMs(), deadline: Infinity, priority: 0, traceparent: '' }, {
          onResponse(r: any) { ex.respond(200, 'Content-Type: application/json', encodeInferResponse(r, request).body); },
          onError(e: any) { ex.respond(e.httpStatus, 'Content-Type: application/json', JSON.stringify({ error: e.message })); },
        });
      } catch (e) { const s = toSwitchyardError(e); ex.respond(s.httpStatus, '', JSON.stringify({ error: s.message })); }
    } });
  } }, 'auto', options.log);
  return server;
}
