import { after, before, beforeEach } from 'node:test';
import { INFERENCE_SERVICE, serviceDefinition } from '../protocol/grpc/schema.ts';
import { type RunningGrpcServer, startGrpcServer } from '../server/grpc/start-grpc-server.ts';
import { type EchoServices, echoServices, openAdmission } from './echo-services.ts';
import { MAX_MESSAGE, TestClient } from './grpc-client.ts';

export interface EchoServer {
  services: EchoServices;
  server: RunningGrpcServer;
  client: TestClient;
}

/** For the tests of one `describe`: a gRPC server over echo services, open to all and clean before each of them. */
export function echoServer(): EchoServer {
  const echo = { services: echoServices() } as EchoServer;
  before(async () => {
    echo.server = await startGrpcServer(echo.services, { host: '127.0.0.1', port: 0, maxMessageBytes: MAX_MESSAGE });
    echo.client = new TestClient(echo.server.port, serviceDefinition(INFERENCE_SERVICE), {
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
    });
  });
  after(async () => {
    echo.client.close();
    await echo.server.close();
  });
  beforeEach(() => {
    const { services } = echo;
    services.admission = openAdmission();
    services.dataPlane.contexts.length = 0;
    services.dataPlane.requests.length = 0;
    services.dataPlane.cancelled = 0;
    services.calls.length = 0;
  });
  return echo;
}
