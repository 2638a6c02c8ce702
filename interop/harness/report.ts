/**
 * The cells as tables: capability × client on the console, the same as Markdown for `docs/interop.md`.
 * Deterministic: no dates, no times, so that the document changes only when a result or a pinned version does.
 */
import type { Cell } from "./step.ts";

const MARKS = { pass: "✔", fail: "✘", skip: "–" } as const;

export interface Skipped {
  readonly step: string;
  readonly why: string;
}

interface Table {
  readonly title: string;
  readonly clients: string[];
  readonly rows: Map<string, Map<string, Cell>>;
}

/** Columns in this order, whichever client came first in a run; those of one family by name. */
const FAMILIES = [
  ...["AMQP", "rhea", "Proton", "go-amqp", "Qpid JMS"],
  ...["STOMP", "stompit", "stompjs", "stomp.py"],
  ...["MQTT", "mosquitto", "Paho", "paho"],
];

/** Several clients at once come last. */
function familyOf(client: string): number {
  if (client.includes(", ") || client.endsWith("at once")) return FAMILIES.length + 1;
  const name = client.replace(/^→ /, "");
  const family = FAMILIES.findIndex((each) => name.startsWith(each));
  return family < 0 ? FAMILIES.length : family;
}

const byName = new Intl.Collator("en", { numeric: true });

export const inColumnOrder = (a: string, b: string): number =>
  familyOf(a) - familyOf(b) || byName.compare(a, b);

function tablesOf(cells: readonly TabledCell[]): Table[] {
  const tables = new Map<string, Table>();
  for (const { table: title, cell } of cells) {
    const table: Table = tables.get(title) ?? { title, clients: [], rows: new Map() };
    tables.set(title, table);
    if (!table.clients.includes(cell.client)) table.clients.push(cell.client);
    const row = table.rows.get(cell.capability) ?? new Map<string, Cell>();
    table.rows.set(cell.capability, row);
    // The same cell twice: a failure is never hidden by a later pass.
    if (row.get(cell.client)?.status !== "fail") row.set(cell.client, cell);
  }
  for (const { clients } of tables.values()) clients.sort(inColumnOrder);
  return [...tables.values()];
}

export interface TabledCell {
  readonly table: string;
  readonly cell: Cell;
}

function markdownTables(cells: readonly TabledCell[]): string {
  return tablesOf(cells)
    .map((table) => {
      const head = `| ${["", ...table.clients].join(" | ")} |`;
      const rule = `|---|${table.clients.map(() => ":-:|").join("")}`;
      const body = [...table.rows].map(([capability, row]) => {
        const marks = table.clients.map((client) => {
          const cell = row.get(client);
          return cell === undefined ? "" : MARKS[cell.status];
        });
        return `| ${[capability, ...marks].join(" | ")} |`;
      });
      return [`## ${table.title}`, "", head, rule, ...body, ""].join("\n");
    })
    .join("\n");
}

export function consoleTables(cells: readonly TabledCell[]): string {
  return tablesOf(cells)
    .map((table) => {
      const label = Math.max(8, ...[...table.rows.keys()].map((name) => name.length));
      const widths = table.clients.map((client) => Math.max(4, client.length));
      const line = (name: string, values: readonly string[]): string =>
        [name.padEnd(label), ...values.map((value, at) => value.padEnd(widths[at] ?? 4))].join(
          "  ",
        );
      const rows = [...table.rows].map(([capability, row]) =>
        line(
          capability,
          table.clients.map((client) => {
            const cell = row.get(client);
            return cell === undefined
              ? ""
              : { pass: "ok", fail: "FAIL", skip: "skip" }[cell.status];
          }),
        ),
      );
      return [table.title, line("", table.clients), ...rows, ""].join("\n");
    })
    .join("\n");
}

export function interopDocument(cells: readonly TabledCell[], skipped: readonly Skipped[]): string {
  const left =
    skipped.length === 0
      ? ""
      : `\nNot run here: ${skipped.map(({ step, why }) => `${step} (${why})`).join("; ")}.\n`;
  return `# Interoperability

Written by \`npm run interop\`: real clients, in their own processes, against a real server; every version pinned.
✔ holds, ✘ does not, an empty cell was not asked of that client. \`interop/README.md\` tells how to run and extend it.

${markdownTables(cells)}${left}`;
}
