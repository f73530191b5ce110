import type { Config } from '../config/schema.ts';
import { listenNode } from '../server/http/node.ts';
import type { HttpServer } from '../server/http/socket.ts';
import type { MetricsHub } from './metrics-hub.ts';

const CONTENT_TYPE = 'Content-Type: text/plain; version=0.0.4; charset=utf-8';

/** The Prometheus port. The text is built on the control thread, at scrape time, from memory that the others write. */
export function startMetricsServer(hub: MetricsHub, server: Config['server']): Promise<HttpServer> {
  return listenNode(
    { host: server.host, port: server.metricsPort, tls: server.tls, maxBodyBytes: 0, exclusivePort: true },
    {
      onRequest(head, exchange) {
        if (head.path !== '/metrics') {
          exchange.respond(404, 'Content-Type: application/json', '{"error":"not found; metrics are at /metrics"}');
          return;
        }
        exchange.receive({ onBody() {}, onAbort() {} });
        hub.prometheus().then(
          (text) => exchange.respond(200, CONTENT_TYPE, text),
          () =>
            exchange.respond(500, 'Content-Type: application/json', '{"error":"the metrics could not be collected"}'),
        );
      },
    },
  );
}
