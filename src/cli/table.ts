/** Columns for people; numbers to the right, and as wide as the terminal: long texts are cut there. */
export type Cell = string | number | boolean | null;

/** Widest that a text becomes where nothing says how wide a line may be: names may be 64 KiB long. */
const CELL_MAX = 255;
const CELL_MIN = 8;
const GAP = "  ";

export function formatTable(
  head: readonly string[],
  rows: ReadonlyArray<readonly Cell[]>,
  width = terminalWidth(),
): string {
  const texts = rows.map((row) => row.map((cell) => printable(cell)));
  const widths = head.map((title) => title.length);
  for (const row of texts) {
    for (const [i, text] of row.entries()) {
      widths[i] = Math.max(widths[i]!, Math.min(text.length, CELL_MAX));
    }
  }
  const isNumber = head.map((_, i) => rows.every((row) => typeof row[i] === "number"));
  narrow(widths, isNumber, width);
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => {
        const text = cut(cell, widths[i]!);
        return isNumber[i] ? text.padStart(widths[i]!) : text.padEnd(widths[i]!);
      })
      .join(GAP)
      .trimEnd();
  return `${[line(head), ...texts.map(line)].join("\n")}\n`;
}

/** The widest text gives way first. */
function narrow(widths: number[], isNumber: readonly boolean[], most: number): void {
  const gaps = (widths.length - 1) * GAP.length;
  for (;;) {
    const sum = widths.reduce((total, one) => total + one, gaps);
    let widest = -1;
    for (const [i, one] of widths.entries()) {
      if (!isNumber[i] && one > CELL_MIN && (widest < 0 || one > widths[widest]!)) widest = i;
    }
    if (sum <= most || widest < 0) return;
    widths[widest]!--;
  }
}

const cut = (text: string, most: number): string =>
  text.length <= most ? text : `${text.slice(0, most - 1)}…`;

/** A pipe is as wide as it takes, unless COLUMNS says otherwise. */
function terminalWidth(): number {
  const columns = process.stdout.columns ?? Number(process.env["COLUMNS"]);
  return columns > 0 ? columns : Number.POSITIVE_INFINITY;
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
