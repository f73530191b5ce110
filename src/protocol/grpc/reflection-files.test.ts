import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import protobuf from 'protobufjs';
import 'protobufjs/ext/descriptor.js';
import { reflectionFiles } from './reflection-files.ts';
import { INFERENCE_SERVICE, PREDICTION_SERVICE, serviceDefinition } from './schema.ts';

interface Fields {
  name: string;
  dependency: string[];
  messageType: { name: string; field: { name: string; typeName: string }[]; nestedType: { name: string }[] }[];
}

const descriptors = (
  protobuf as unknown as { descriptor: { FileDescriptorProto: { decode(bytes: Uint8Array): Fields } } }
).descriptor;

describe('reflectionFiles', () => {
  const source = serviceDefinition(INFERENCE_SERVICE).ModelInfer.requestType as unknown as {
    fileDescriptorProtos: Buffer[];
  };
  const files = reflectionFiles(source.fileDescriptorProtos).map((bytes) =>
    descriptors.FileDescriptorProto.decode(bytes),
  );
  const byName = new Map(files.map((file) => [file.name, file]));

  it('imports what a file uses, by the names everyone knows', () => {
    assert.deepEqual(byName.get('tensorflow_serving.proto')?.dependency.sort(), [
      'google/protobuf/any.proto',
      'google/protobuf/wrappers.proto',
      'tensorflow.proto',
      'tensorflow_error.proto',
    ]);
    assert.deepEqual(byName.get('inference.proto')?.dependency, []);
    assert.ok(serviceDefinition(PREDICTION_SERVICE).Predict);
  });

  it('gives types absolute names and map entries their own', () => {
    const features = byName.get('tensorflow.proto')!.messageType.find((message) => message.name === 'Features')!;
    assert.equal(features.field[0].typeName, '.tensorflow.Features.FeatureEntry');
    assert.equal(features.nestedType[0].name, 'FeatureEntry');
    const config = byName.get('inference.proto')!.messageType.find((message) => message.name === 'ModelConfig')!;
    assert.ok(config.nestedType.some((nested) => nested.name === 'CcModelFilenamesEntry'));
    for (const file of files) {
      for (const message of file.messageType) {
        for (const field of message.field) assert.match(field.typeName || '.', /^\./, `${message.name}.${field.name}`);
      }
    }
  });
});
