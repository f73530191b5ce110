import type { SchemaRegistry } from '@kafkajs/confluent-schema-registry';
import type avro from 'avsc';
import { invalidArgument, SwitchyardError } from '../shared/errors.ts';

/** A zero, and four bytes of the schema's id. */
const FRAME_BYTES = 5;
const REGISTRY_RETRY_MS = 1000;
const DAY_MS = 24 * 3600 * 1000;

/** Confluent's framing. JSON never begins so. */
export function isFramed(value: Uint8Array): boolean {
  return value[0] === 0;
}

/** Reads values that are Avro, framed by a registry with Confluent's REST. Schemas are asked for once. */
export class AvroValues {
  private readonly host: string;
  private readonly logical: boolean;
  private opened: Promise<SchemaRegistry> | undefined;

  /** @param logical dates and decimals become what they mean; else they stay the numbers and bytes that they are made of */
  constructor(host: string, logical: boolean) {
    this.host = host;
    this.logical = logical;
  }

  /** Rejects with invalid_argument for what is no such value, and with unavailable while the registry is away. */
  async read(value: Buffer): Promise<unknown> {
    if (value.length < FRAME_BYTES)
      throw invalidArgument(`the record has ${value.length} bytes, and its frame alone ${FRAME_BYTES}`);
    const id = value.readInt32BE(1);
    const registry = await this.registry();
    let schema: Awaited<ReturnType<SchemaRegistry['getSchema']>>;
    try {
      schema = await registry.getSchema(id);
    } catch (error) {
      const { status, message } = error as { status?: number; message: string };
      if (status === 404) throw invalidArgument(`the schema registry has no schema ${id}: ${message}`);
      throw registryAway(error as Error);
    }
    try {
      return schema.fromBuffer(value.subarray(FRAME_BYTES));
    } catch (error) {
      throw invalidArgument(`the record does not fit its schema ${id}: ${(error as Error).message}`);
    }
  }

  registry(): Promise<SchemaRegistry> {
    this.opened ??= openRegistry(this.host, this.logical);
    return this.opened;
  }
}

export function registryAway(cause: Error): SwitchyardError {
  return new SwitchyardError('unavailable', `the schema registry cannot be used: ${cause.message}`, {
    retryAfterMs: REGISTRY_RETRY_MS,
    cause,
  });
}

async function openRegistry(host: string, logical: boolean): Promise<SchemaRegistry> {
  const [{ SchemaRegistry, SchemaType }, { default: library }] = await Promise.all([
    import('@kafkajs/confluent-schema-registry'),
    import('avsc'),
  ]);
  const logicalTypes = logical ? logicalTypesOf(library) : {};
  // Longs keep their digits.
  const long = library.types.LongType.__with({
    fromBuffer: (bytes: Buffer) => narrow(bytes.readBigInt64LE()),
    toBuffer: (value: number | bigint) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigInt64LE(BigInt(value));
      return bytes;
    },
    fromJSON: (value: number) => value,
    toJSON: (value: number | bigint) => Number(value),
    isValid: (value: unknown) => typeof value === 'bigint' || Number.isSafeInteger(value),
    compare: (a: number | bigint, b: number | bigint) => (a < b ? -1 : a > b ? 1 : 0),
  });
  const typeHook = (schema: unknown) => {
    const { type, logicalType } = (schema ?? {}) as { type?: unknown; logicalType?: string };
    if (logicalType !== undefined && logicalType in logicalTypes) return undefined;
    return schema === 'long' || type === 'long' ? long : undefined;
  };
  return new SchemaRegistry({ host, retry: { retries: 0 } }, { [SchemaType.AVRO]: { typeHook, logicalTypes } });
}

function narrow(value: bigint): number | bigint {
  const near = Number(value);
  return Number.isSafeInteger(near) ? near : value;
}

/** Times and days are Dates, decimals the nearest floats. */
function logicalTypesOf(library: typeof avro): Record<string, new () => avro.types.LogicalType> {
  /** A time whose number counts so many of a millisecond's parts. */
  const time = (perMs: number) =>
    class extends library.types.LogicalType {
      override _fromValue(value: number | bigint): Date {
        return new Date(Number(value) / perMs);
      }
      override _toValue(value: unknown): number | undefined {
        return value instanceof Date ? value.getTime() * perMs : undefined;
      }
    };
  class Decimal extends library.types.LogicalType {
    private readonly scale: number;
    constructor(schema: { scale?: number }, options?: object) {
      super(schema as avro.Schema, options);
      this.scale = schema.scale ?? 0;
    }
    override _fromValue(value: Uint8Array): number {
      let whole = 0n;
      for (const byte of value) whole = (whole << 8n) | BigInt(byte);
      return Number(`${BigInt.asIntN(8 * value.length, whole)}e-${this.scale}`);
    }
  }
  const types = {
    'timestamp-millis': time(1),
    'timestamp-micros': time(1000),
    'local-timestamp-millis': time(1),
    'local-timestamp-micros': time(1000),
    date: time(1 / DAY_MS),
    decimal: Decimal,
  };
  return types as unknown as Record<string, new () => avro.types.LogicalType>;
}
