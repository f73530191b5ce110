/** What happened when, in seconds since the beginning. */
export interface Moment {
  at: number;
  what: string;
}

export interface Point {
  at: number;
  value: number;
}

const WIDTH = 860;
const LEFT = 50;
const RIGHT = 20;
const TOP = 50;
const PLOT = 240;
const LEGEND = 20;

/** A line over time, values from 0 to 1, with numbered moments and their legend below. */
export function timeline(title: string, unit: string, points: readonly Point[], moments: readonly Moment[]): string {
  const end = Math.max(1, ...points.map(({ at }) => at), ...moments.map(({ at }) => at));
  const x = (at: number): number => round(LEFT + (at / end) * (WIDTH - LEFT - RIGHT));
  const y = (value: number): number => round(TOP + (1 - value) * PLOT);
  const path = points.map(({ at, value }, i) => `${i === 0 ? 'M' : 'L'}${x(at)} ${y(value)}`).join('');
  const grid = [0, 0.25, 0.5, 0.75, 1].map(
    (value) =>
      `<path d="M${LEFT} ${y(value)}H${WIDTH - RIGHT}" stroke="#d0d7de"/><text x="${LEFT - 8}" y="${y(value) + 4}" text-anchor="end">${value}</text>`,
  );
  const marks = moments.map(
    ({ at }, i) =>
      `<path d="M${x(at)} ${TOP}V${TOP + PLOT}" stroke="#c9a227" stroke-dasharray="4 3"/><text x="${x(at) + 3}" y="${TOP + 12 + (i % 3) * 13}" fill="#7d6608">${i + 1}</text>`,
  );
  const legend = moments.map(
    ({ at, what }, i) =>
      `<text x="${LEFT}" y="${TOP + PLOT + 42 + i * LEGEND}">${i + 1}. ${at.toFixed(1)} s: ${escapeXml(what)}</text>`,
  );
  const height = TOP + PLOT + 50 + moments.length * LEGEND;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="13" fill="#24292f">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    `<text x="12" y="20" font-size="15" font-weight="bold">${escapeXml(title)}</text>`,
    `<text x="12" y="38" fill="#57606a">${escapeXml(unit)}</text>`,
    ...grid,
    ...marks,
    `<path d="${path}" fill="none" stroke="#1f6feb" stroke-width="2"/>`,
    `<text x="${WIDTH - RIGHT}" y="${TOP + PLOT + 18}" text-anchor="end">${end.toFixed(0)} s</text>`,
    ...legend,
    '</svg>',
    '',
  ].join('\n');
}

/** The same as text: a row for each tenth, a column for each point, moments marked below by their numbers. */
export function timelineText(points: readonly Point[], moments: readonly Moment[], columns = 72): string {
  const end = Math.max(1, ...points.map(({ at }) => at), ...moments.map(({ at }) => at));
  const column = (at: number): number => Math.min(columns - 1, Math.floor((at / end) * columns));
  const cells: number[][] = Array.from({ length: columns }, () => []);
  for (const { at, value } of points) cells[column(at)].push(value);
  const means = cells.map((values) =>
    values.length === 0 ? undefined : values.reduce((a, b) => a + b, 0) / values.length,
  );
  const rows: string[] = [];
  for (let tenth = 10; tenth >= 0; tenth--) {
    const line = means.map((mean) => (mean !== undefined && Math.round(mean * 10) === tenth ? '*' : ' ')).join('');
    rows.push(`${(tenth / 10).toFixed(1)} |${line}`);
  }
  const marks = new Array<string>(columns).fill('-');
  moments.forEach(({ at }, i) => {
    marks[column(at)] = String((i + 1) % 10);
  });
  rows.push(`    +${marks.join('')}`);
  moments.forEach(({ at, what }, i) => {
    rows.push(`${String(i + 1).padStart(3)}  ${at.toFixed(1).padStart(6)} s  ${what}`);
  });
  return rows.join('\n');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
