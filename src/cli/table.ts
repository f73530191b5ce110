/** Rows as aligned columns under upper-case headings; control characters are shown, not sent to the terminal. */
export function formatTable(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [columns.map((column) => column.toUpperCase()), ...rows.map((row) => row.map(printable))];
  const widths = columns.map((_, i) => Math.max(...cells.map((row) => row[i].length)));
  return cells
    .map((row) =>
      row
        .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] + 2)))
        .join('')
        .trimEnd(),
    )
    .join('\n');
}

function printable(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
