// Exits 0 while the gateway in this container is ready. The port is the one SWITCHYARD_HTTP_PORT gives it; whether it speaks
// TLS shows. A gateway that refuses us for want of a client certificate lives, and can say no more.
import { get } from 'node:http';
import { get as getSecure } from 'node:https';

const STEP_MS = 1200;
const target = { host: '127.0.0.1', port: process.env.SWITCHYARD_HTTP_PORT ?? '8000', path: '/v2/health/ready' };
// The gateway is known by its address; its certificate names what others call it.
const secure = { ...target, rejectUnauthorized: false };

/** Resolves with 'ready', 'not ready', 'refused' (TLS was set up, no answer came), or 'silent'. */
function ask(request, options) {
  return new Promise((resolve) => {
    let otherwise = 'silent';
    const sent = request(options, (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200 ? 'ready' : 'not ready');
    });
    sent.setTimeout(STEP_MS, () => {
      otherwise = 'silent';
      sent.destroy();
    });
    sent.on('socket', (socket) =>
      socket.on('secureConnect', () => {
        otherwise = 'refused';
      }),
    );
    sent.on('error', () => {});
    sent.on('close', () => resolve(otherwise));
  });
}

let health = await ask(get, target);
if (health === 'silent') health = await ask(getSecure, secure);
process.exitCode = health === 'ready' || health === 'refused' ? 0 : 1;
