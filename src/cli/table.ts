/** Columns for people; numbers to the right. */
export type Cell = string | number | boolean | null;

export function formatTable(head: readonly string[], rows: ReadonlyArray<readonly Cell[]>): string {
  const texts = rows.map((row) => row.map((cell) => printable(cell)));
  const widths = head.map((title, i) =>
    Math.max(title.length, ...texts.map((row) => (row[i] ?? "").length)),
  );
  const isNumber = head.map((_, i) => rows.every((row) => typeof row[i] === "number"));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (isNumber[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join("  ")
      .trimEnd();
  return `${[line(head), ...texts.map(line)].join("\n")}\n`;
}

function printable(cell: Cell): string {
  if (cell === null) return "-";
  // Names come from clients: nothing in them may move the cursor.
  return String(cell).replace(/\p{C}/gu, "\u00b7");
}

export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function formatDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const [d, h, m, s] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3600) % 24,
    Math.floor(seconds / 60) % 60,
    seconds % 60,
  ];
  if (d > 0) return `${d}d ${h}h`;
  if (h > 0) return `${h}h ${m}m`;
  return m > 0 ? `${m}m ${s}s` : `${s}s`;
}
