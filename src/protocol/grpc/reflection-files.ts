import descriptor from 'protobufjs/ext/descriptor.js';

/** The parts of a FileDescriptorProto that name types. */
interface Field {
  name: string;
  typeName?: string | null;
}
interface Message {
  name: string;
  field: Field[];
  nestedType: Message[];
  enumType: { name: string }[];
  options?: { mapEntry?: boolean } | null;
}
interface File {
  name: string;
  package: string;
  dependency: string[];
  syntax?: string | null;
  messageType: Message[];
  enumType: { name: string }[];
  service: { method: { inputType: string; outputType: string }[] }[];
}

const { FileDescriptorProto } = descriptor as unknown as {
  FileDescriptorProto: {
    decode(bytes: Uint8Array): File;
    create(fields: Partial<File>): File;
    encode(file: File): { finish(): Uint8Array };
  };
};

const WELL_KNOWN = 'google.protobuf';

/**
 * Mends serialized file descriptors for reflection clients. protobufjs makes one file per package, leaves the imports out,
 * names map entries after their field so that they hide types of that name, and abbreviates type names; clients need
 * imports, "…Entry" and names that resolve, and know the well-known types by their usual file names.
 */
export function reflectionFiles(serialized: readonly Uint8Array[]): Buffer[] {
  const files = serialized.map((bytes) => FileDescriptorProto.decode(bytes)).flatMap(splitWellKnown);
  const homes = new Map<string, string>();
  for (const file of files) {
    collect(homes, file.name, file.package, file);
  }
  for (const file of files) new FileMender(file, homes).mend();
  return files.map((file) => Buffer.from(FileDescriptorProto.encode(file).finish()));
}

function splitWellKnown(file: File): File[] {
  if (file.package !== WELL_KNOWN) return [file];
  const part = (name: string, keep: (message: Message) => boolean): File =>
    FileDescriptorProto.create({
      name: `google/protobuf/${name}.proto`,
      package: WELL_KNOWN,
      syntax: file.syntax,
      messageType: file.messageType.filter(keep),
    });
  return [part('any', ({ name }) => name === 'Any'), part('wrappers', ({ name }) => name !== 'Any')];
}

/** Full names of all types but map entries, and the files that hold them. */
function collect(
  homes: Map<string, string>,
  file: string,
  scope: string,
  holder: { messageType?: Message[]; nestedType?: Message[]; enumType: { name: string }[] },
): void {
  for (const { name } of holder.enumType) homes.set(`${scope}.${name}`, file);
  for (const message of holder.messageType ?? holder.nestedType ?? []) {
    if (message.options?.mapEntry) continue;
    homes.set(`${scope}.${message.name}`, file);
    collect(homes, file, `${scope}.${message.name}`, message);
  }
}

class FileMender {
  private readonly file: File;
  private readonly homes: Map<string, string>;
  private readonly imports = new Set<string>();

  constructor(file: File, homes: Map<string, string>) {
    this.file = file;
    this.homes = homes;
  }

  mend(): void {
    const { file } = this;
    for (const message of file.messageType) this.message(message, `${file.package}.${message.name}`);
    for (const { method: methods } of file.service) {
      for (const method of methods) {
        method.inputType = this.resolve(file.package, method.inputType);
        method.outputType = this.resolve(file.package, method.outputType);
      }
    }
    file.dependency = [...this.imports];
  }

  private message(message: Message, scope: string): void {
    for (const field of message.field) {
      if (!field.typeName) continue;
      const entry = message.nestedType.find(
        (nested) => nested.options?.mapEntry && nested.name === upperFirst(field.name),
      );
      if (entry !== undefined && field.typeName === entry.name) field.typeName = `.${scope}.${entryName(field.name)}`;
      else field.typeName = this.resolve(scope, field.typeName);
    }
    for (const nested of message.nestedType) {
      if (!nested.options?.mapEntry) {
        this.message(nested, `${scope}.${nested.name}`);
        continue;
      }
      for (const field of nested.field) if (field.typeName) field.typeName = this.resolve(scope, field.typeName);
      const owner = message.field.find((field) => upperFirst(field.name) === nested.name);
      nested.name = entryName(owner!.name);
    }
  }

  /** The absolute name of a type, by protobuf's scoping from the innermost message outwards; its file gets imported. */
  private resolve(scope: string, reference: string): string {
    const found = this.find(scope, reference);
    const home = this.homes.get(found);
    if (home === undefined) throw new Error(`no declaration of the type ${reference} used in ${scope}`);
    if (home !== this.file.name) this.imports.add(home);
    return `.${found}`;
  }

  private find(scope: string, reference: string): string {
    if (reference.startsWith('.')) return reference.slice(1);
    for (let outer = scope; outer !== ''; outer = outer.slice(0, Math.max(0, outer.lastIndexOf('.')))) {
      if (this.homes.has(`${outer}.${reference}`)) return `${outer}.${reference}`;
    }
    return reference;
  }
}

function upperFirst(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

function entryName(field: string): string {
  return `${field.split('_').map(upperFirst).join('')}Entry`;
}
