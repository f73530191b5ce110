import { z } from 'zod';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};
const BYTES_HINT = 'bytes as a number, or with a unit: 512Mi, 4Gi, 2G';
const CORES_HINT = 'cores as a number such as 2 or 0.5, or in thousandths such as 500m';

/** "512Mi", "2G" or a number, as bytes. */
export const bytes = z
  .union([z.string().regex(/^\d+(\.\d+)?([kMGT]|[KMGT]i)?$/, BYTES_HINT), z.number().int().positive()], BYTES_HINT)
  .transform((value) => {
    if (typeof value === 'number') return value;
    const [, amount, , unit = ''] = /^(\d+(\.\d+)?)(\D*)$/.exec(value) as RegExpExecArray;
    return Math.round(Number(amount) * UNITS[unit]);
  })
  .refine((value) => value >= 1, 'must be at least 1 byte');

/** "500m" or a number, as cores. */
export const cores = z
  .union([z.string().regex(/^\d+m$|^\d+(\.\d+)?$/, CORES_HINT), z.number().positive()], CORES_HINT)
  .transform((value) => {
    if (typeof value === 'number') return value;
    return value.endsWith('m') ? Number(value.slice(0, -1)) / 1000 : Number(value);
  })
  .refine((value) => value >= 0.001, 'must be at least 0.001');
