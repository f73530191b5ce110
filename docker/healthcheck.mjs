// Exits 0 while the gateway in this container is ready. The port is the one SWITCHYARD_HTTP_PORT gives it.
const port = process.env.SWITCHYARD_HTTP_PORT ?? '8000';
try {
  const answer = await fetch(`http://127.0.0.1:${port}/v2/health/ready`, { signal: AbortSignal.timeout(2500) });
  process.exitCode = answer.ok ? 0 : 1;
} catch {
  process.exitCode = 1;
}
