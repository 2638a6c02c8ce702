/** Figures as a Markdown table and as JSON, both with the machine they come from: a figure without it says nothing. */
import { readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import type { BenchCell } from "./cells.ts";

export type Numbers = Readonly<Record<string, number>>;

export interface Measured {
  readonly broker: string;
  readonly cell: BenchCell;
  readonly runs: readonly Numbers[];
  /** Why a run gave no figure, or lost something. */
  readonly faults: readonly string[];
}

export interface BrokerFacts {
  readonly name: string;
  readonly version: string;
  readonly startMs: number;
  readonly idleMiB: number;
  readonly loadedMiB: number;
}

export interface BenchReport {
  readonly date: string;
  readonly machine: Machine;
  readonly secondsPerRun: number;
  readonly brokers: readonly BrokerFacts[];
  readonly measured: readonly Measured[];
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  /** One fdatasync of an appended 4 KiB page, median in microseconds. */
  readonly fdatasyncUs: number;
  /** Load average when the run began: figures from a busy machine are not figures. */
  readonly loadAverage: number;
}

export function thisMachine(fdatasyncUs: number): Machine {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    fdatasyncUs,
    loadAverage: Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]),
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
}

/** Median over the runs of one of the generator's figures. */
export const figureOf = (measured: Measured, key: string): number =>
  median(measured.runs.map((numbers) => numbers[key] ?? Number.NaN));
const of = figureOf;

const whole = (value: number): string =>
  Number.isFinite(value) ? Math.round(value).toLocaleString("en-US") : "–";
const short = (value: number): string =>
  Number.isFinite(value) ? String(Number(value.toPrecision(3))) : "–";

function figures(measured: Measured): string {
  if (measured.runs.length === 0) return measured.faults.join("; ") || "–";
  const cpu = `${short(of(measured, "broker_cpu_us_per_msg"))} µs`;
  const isMixed = measured.runs.some((numbers) => (numbers["out_of_order"] ?? 0) > 0);
  const faults = [...measured.faults, ...(isMixed ? ["out of order"] : [])];
  const fault = faults.length === 0 ? "" : ` (${faults.join("; ")})`;
  switch (measured.cell.shows) {
    case "rate":
      return `${whole(of(measured, measured.cell.args.includes("fanout") ? "con_rate" : "both_rate"))}/s, ${cpu}${fault}`;
    case "latency": {
      const [p50, p99, p999] = ["lat_p50_us", "lat_p99_us", "lat_p999_us"].map((key) =>
        short(of(measured, key) / 1000),
      );
      return `${p50} / ${p99} / ${p999} ms, ${cpu}${fault}`;
    }
    case "backlog": {
      const out = short(of(measured, "broker_cpu_us_per_msg_consume"));
      return `in ${whole(of(measured, "pub_rate"))}/s, ${cpu}; out ${whole(of(measured, "con_rate"))}/s, ${out} µs${fault}`;
    }
  }
}

/** How much better the first broker is than another: a ratio of rates, or of median latencies turned round. */
function ratio(first: Measured | undefined, other: Measured | undefined): string {
  if (first === undefined || other === undefined) return "";
  if (first.runs.length === 0 || other.runs.length === 0) return "";
  const { shows, args } = first.cell;
  if (shows === "latency") return `${short(of(other, "lat_p99_us") / of(first, "lat_p99_us"))}×`;
  const key = shows === "backlog" ? "con_rate" : args.includes("fanout") ? "con_rate" : "both_rate";
  return `${short(of(first, key) / of(other, key))}×`;
}

export function markdown(report: BenchReport): string {
  const { machine, brokers, measured } = report;
  const names = brokers.map(({ name }) => name);
  const [first] = names;
  const lines = [
    `# Measured ${report.date}`,
    "",
    `${machine.cores} × ${machine.cpu}, ${machine.memoryGiB} GiB, Linux ${machine.kernel}; one fdatasync ${whole(machine.fdatasyncUs)} µs;`,
    `load average at the start ${machine.loadAverage}. Median of the runs, ${report.secondsPerRun} s each. Every message durable and confirmed;`,
    "rate = messages both confirmed and delivered a second, µs = CPU of the broker per message in and out. Latency: p50 / p99 / p99.9,",
    "end to end. pinned: broker on one core, generator on the other; shared: both on both.",
    "",
    "| broker | version | start to first answer | RSS idle | RSS after the rows below |",
    "|---|---|---|---|---|",
    ...brokers.map(
      (facts) =>
        `| ${facts.name} | ${facts.version} | ${whole(facts.startMs)} ms | ${whole(facts.idleMiB)} MiB | ${whole(facts.loadedMiB)} MiB |`,
    ),
    "",
    `| row | cores | ${names.join(" | ")} |${names.length > 1 ? ` ${first} against ${names.slice(1).join(", ")} |` : ""}`,
    `|---|---|${names.map(() => "---|").join("")}${names.length > 1 ? "---|" : ""}`,
  ];
  const rows = new Map<string, Measured[]>();
  for (const each of measured) {
    const key = `${each.cell.protocol} ${each.cell.row} | ${each.cell.placement}`;
    rows.set(key, [...(rows.get(key) ?? []), each]);
  }
  for (const [key, all] of rows) {
    const byName = (name: string | undefined): Measured | undefined =>
      all.find(({ broker }) => broker === name);
    const cells = names.map((name) => {
      const found = byName(name);
      return found === undefined ? "" : figures(found);
    });
    const ratios = names.slice(1).map((name) => ratio(byName(first), byName(name)));
    lines.push(
      `| ${key} | ${cells.join(" | ")} |${names.length > 1 ? ` ${ratios.join(", ")} |` : ""}`,
    );
  }
  return `${lines.join("\n")}\n`;
}
