// The limit of @grpc/grpc-js: a unary handler that neither decodes its request nor answers more than an empty message.
//   node empty-grpc.mjs <port>
import { Server, ServerCredentials } from '@grpc/grpc-js';

const EMPTY = Buffer.alloc(0);
const asIs = (bytes) => bytes;
const server = new Server();
server.addService(
  {
    ModelInfer: {
      path: '/inference.GRPCInferenceService/ModelInfer',
      requestStream: false,
      responseStream: false,
      requestSerialize: asIs,
      requestDeserialize: asIs,
      responseSerialize: asIs,
      responseDeserialize: asIs,
    },
  },
  { ModelInfer: (_call, callback) => callback(null, EMPTY) },
);
server.bindAsync(`127.0.0.1:${process.argv[2]}`, ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});
