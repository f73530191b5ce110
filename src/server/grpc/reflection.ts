import { service as healthService } from 'grpc-health-check';
import { reflectionFiles } from '../../protocol/grpc/reflection-files.ts';
import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import type { ServiceRegistrar } from './service-registrar.ts';

const PREFIX = '/grpc.reflection.';

/** A method of proto-loader's that carries the files its messages are declared in. */
interface Described {
  requestType: { fileDescriptorProtos: Buffer[] };
}

/**
 * Loads reflection, v1 and v1alpha, when its first caller comes: few ask for it, and its libraries take longer to load than
 * all the rest. True where a path is now worth looking up again.
 */
export function reflectionLoader(registrar: ServiceRegistrar): (path: string) => Promise<boolean> {
  let loading: Promise<boolean> | undefined;
  return (path) => {
    if (!path.startsWith(PREFIX)) return Promise.resolve(false);
    loading ??= load(registrar);
    return loading;
  };
}

async function load(registrar: ServiceRegistrar): Promise<boolean> {
  const { ReflectionService } = await import('@grpc/reflection');
  const sources = [serviceDefinition(INFERENCE_SERVICE).ModelInfer, healthService.Check] as unknown as Described[];
  const fileDescriptorProtos = sources.flatMap((method) => reflectionFiles(method.requestType.fileDescriptorProtos));
  new ReflectionService({ all: { fileDescriptorProtos } } as never).addToServer(registrar as never);
  return true;
}
