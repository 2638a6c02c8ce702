/**
 * On which line does a key of a TOML file stand? The TOML parser does not say, so this walks the text a second time. It
 * knows table headers, dotted and quoted keys and skips multi-line values; a key inside an inline table is found at the
 * line of the table.
 */

/** Line numbers by dotted path, from 1. */
export function tomlLines(source: string): Map<string, number> {
  const lines = new Map<string, number>();
  let table: string[] = [];
  let multiline: string | null = null;
  let depth = 0;
  source.split("\n").forEach((line, index) => {
    if (multiline !== null) {
      const close = line.indexOf(multiline);
      if (close < 0) return;
      multiline = null;
      return;
    }
    if (depth > 0) {
      depth += bracketBalance(line);
      return;
    }
    const text = line.trim();
    const header = /^\[\[?(.*?)\]\]?\s*(#.*)?$/.exec(text);
    if (header !== null) {
      table = splitKey(header[1]!);
      note(lines, table, index + 1);
      return;
    }
    const key = /^((?:"[^"]*"|'[^']*'|[^=#"'])+?)\s*=\s*(.*)$/.exec(text);
    if (key === null) return;
    note(lines, [...table, ...splitKey(key[1]!)], index + 1);
    const value = key[2]!;
    const quotes = value.startsWith('"""') ? '"""' : value.startsWith("'''") ? "'''" : null;
    if (quotes !== null) {
      if (value.indexOf(quotes, 3) < 0) multiline = quotes;
      return;
    }
    depth = Math.max(0, bracketBalance(value));
  });
  return lines;
}

function note(lines: Map<string, number>, path: string[], line: number): void {
  for (let i = 1; i <= path.length; i++) {
    const name = path.slice(0, i).join(".");
    if (!lines.has(name) || i === path.length) lines.set(name, line);
  }
}

function splitKey(key: string): string[] {
  return (key.match(/"[^"]*"|'[^']*'|[^.\s]+/g) ?? []).map((part) =>
    part.replace(/^["'](.*)["']$/, "$1"),
  );
}

/** Brackets opened and not closed on this line, outside strings and comments. */
function bracketBalance(line: string): number {
  const bare = line.replace(/"(?:[^"\\]|\\.)*"|'[^']*'/g, "").replace(/#.*$/, "");
  return (bare.match(/[[{]/g)?.length ?? 0) - (bare.match(/[\]}]/g)?.length ?? 0);
}
