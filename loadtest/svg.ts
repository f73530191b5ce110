/** One bar: a value with its interval, and what it is for its colour. */
export interface Bar {
  label: string;
  value: number;
  low: number;
  high: number;
  role: 'subject' | 'limit' | 'peer';
}

const FILL = { subject: '#1f6feb', limit: '#9aa4b2', peer: '#c9a227' };
const ROW = 26;
const LEFT = 190;
const PLOT = 430;
const RIGHT = 120;
const TOP = 46;

/**
 * A horizontal bar chart, values from zero on a linear scale, with a whisker over each interval. Bars keep the given
 * order. Throws RangeError for values that are not finite or below zero.
 */
export function barChart(title: string, unit: string, bars: readonly Bar[]): string {
  for (const bar of bars) {
    if (!(bar.value >= 0 && Number.isFinite(bar.high) && bar.low >= 0)) {
      throw new RangeError(`bar "${bar.label}" has value ${bar.value} in [${bar.low}, ${bar.high}]`);
    }
  }
  const width = LEFT + PLOT + RIGHT;
  const height = TOP + bars.length * ROW + 16;
  const top = Math.max(...bars.map((bar) => bar.high), Number.MIN_VALUE);
  const x = (value: number): number => round(LEFT + (value / top) * PLOT);
  const rows = bars.map((bar, i) => {
    const y = TOP + i * ROW;
    const middle = y + ROW / 2;
    return [
      `<text x="${LEFT - 8}" y="${middle + 4}" text-anchor="end">${escapeXml(bar.label)}</text>`,
      `<rect x="${LEFT}" y="${y + 4}" width="${round(x(bar.value) - LEFT)}" height="${ROW - 8}" fill="${FILL[bar.role]}"/>`,
      `<path d="M${x(bar.low)} ${middle}H${x(bar.high)}M${x(bar.low)} ${middle - 4}v8M${x(bar.high)} ${middle - 4}v8" stroke="#24292f"/>`,
      `<text x="${x(bar.high) + 8}" y="${middle + 4}">${escapeXml(humanNumber(bar.value))}</text>`,
    ].join('');
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="13" fill="#24292f">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="12" y="20" font-size="15" font-weight="bold">${escapeXml(title)}</text>`,
    `<text x="12" y="37" fill="#57606a">${escapeXml(unit)}</text>`,
    ...rows,
    '</svg>',
    '',
  ].join('\n');
}

/** 3 significant digits, thousands as k and millions as M: 77421 → "77.4k". */
export function humanNumber(value: number): string {
  if (value >= 999_500) return `${short(value / 1e6)}M`;
  if (value >= 999.5) return `${short(value / 1e3)}k`;
  return short(value);
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
