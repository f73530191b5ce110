import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import type { GatewayServices } from '../services.ts';
import { controlHandlers } from './control-service.ts';
import { Dispatcher } from './dispatcher.ts';
import { HealthFollower } from './health.ts';
import type { GrpcTls } from './http2-server.ts';
import { modelStreamInfer } from './infer-stream.ts';
import { modelInfer } from './infer-unary.ts';
import { inferenceHandlers } from './inference-service.ts';
import { type GrpcLibrary, openTransport } from './open-transport.ts';
import { reflectionLoader } from './reflection.ts';
import { type ServiceDefinition, ServiceRegistrar } from './service-registrar.ts';
import { registerTensorflowServing } from './tensorflow-service.ts';

export interface GrpcServerOptions {
  host: string;
  /** 0 takes any free port. */
  port: number;
  tls?: GrpcTls;
  maxMessageBytes: number;
  /** What carries gRPC; 'auto' where it is left out. */
  library?: GrpcLibrary;
  /** Other threads of this process listen on the same port. Only where `carriesNatively`. */
  shared?: boolean;
}

export interface RunningGrpcServer {
  port: number;
  /** Stops taking calls and resolves when those under way have ended. The caller bounds the wait, then calls close. */
  drain(): Promise<void>;
  close(): Promise<void>;
}

/** Serves the v2 inference protocol, TensorFlow Serving's services, health and reflection on one gRPC port. */
export async function startGrpcServer(
  services: GatewayServices,
  options: GrpcServerOptions,
): Promise<RunningGrpcServer> {
  const dispatcher = new Dispatcher(options.maxMessageBytes);
  const registrar = new ServiceRegistrar(dispatcher);
  registrar.addService(serviceDefinition(INFERENCE_SERVICE) as unknown as ServiceDefinition, {
    ...inferenceHandlers(services),
    ...controlHandlers(services),
  });
  dispatcher.register(`/${INFERENCE_SERVICE}/ModelInfer`, modelInfer(services));
  dispatcher.register(`/${INFERENCE_SERVICE}/ModelStreamInfer`, modelStreamInfer(services));
  registerTensorflowServing(dispatcher, registrar, services);
  const health = new HealthFollower(services);
  health.addToServer(registrar);
  dispatcher.onUnknownMethod = reflectionLoader(registrar);
  const server = openTransport(dispatcher, { tls: options.tls }, options.library ?? 'auto', options.shared ?? false);
  const port = await server.listen(options.host, options.port);
  return {
    port,
    drain() {
      health.stop();
      return server.drain();
    },
    close() {
      health.stop();
      return server.close();
    },
  };
}
