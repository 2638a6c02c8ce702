/** The figures of a scale run as a page to read, with what we want to reach and how far they are from it. */
import type { Goal } from "../goals.ts";
import type { Machine } from "../report.ts";
import type { Facts } from "./mqtt.ts";

export type Results = Readonly<Record<string, Facts>>;

const IDLE_BYTES = 500;
const BUSY_SHARE = 0.8;
const RETAINED_MIB = 600;
const WILDCARDS_MICROS = 5;

const PLACES = [
  ["alone", "alone"],
  ["beside", "beside idle ones that a start has found"],
  ["justMade", "beside idle ones just made"],
] as const;
const SHAPES = [
  ["OneLinkOneQueue", "one queue"],
  ["ManyLinksManyQueues", "many queues"],
] as const;

const UNITS: Readonly<Record<string, string>> = {
  MiB: "MiB",
  Micros: "µs",
  Ms: "ms",
  Cpu: "CPU",
  cpu: "CPU",
  Percent: "%",
};

/** `startAfterKillCpuMs` → `start after kill CPU ms`. */
const wordsOf = (key: string): string =>
  key
    .split(/(?=MiB)|(?<!Mi)(?=[A-Z])/)
    .map((word) => UNITS[word] ?? word.toLowerCase())
    .join(" ");

/** Of whole counts only: what a process costs at all weighs too much on a few. */
export function scaleGoals(results: Results): Goal[] {
  const goals: Goal[] = [];
  const judge = (
    what: string,
    value: number | undefined,
    isReached: (value: number) => boolean,
    wanted: string,
    unit: string,
  ): void => {
    if (value === undefined || Number.isNaN(value)) return;
    const measured = `${value.toLocaleString("en-US", { maximumFractionDigits: 2 })}${unit}`;
    goals.push({ what, wanted, measured, isReached: isReached(value) });
  };
  const share = (what: string, many: number | undefined, one: number | undefined): void => {
    if (many === undefined || one === undefined) return;
    const percent = Math.round((100 * many) / one);
    judge(what, percent, (value) => value >= BUSY_SHARE * 100, `≥ ${BUSY_SHARE * 100} %`, " %");
  };
  for (const [name, facts] of Object.entries(results)) {
    if (facts["bytesEachOpened"] !== undefined) {
      for (const key of ["bytesEach", "bytesEachOpened"]) {
        const what = `${name}: ${key === "bytesEach" ? "one that was made" : "one after a start"}`;
        judge(what, facts[key], (value) => value <= IDLE_BYTES, `≤ ${IDLE_BYTES} bytes`, " bytes");
      }
    }
    for (const [place, where] of PLACES) {
      const figure = (shape: string, unit: string): number | undefined =>
        facts[`${place}${shape}${unit}`];
      share(
        `many queues against one, ${where}`,
        figure("ManyLinksManyQueues", "Rate"),
        figure("ManyLinksOneQueue", "Rate"),
      );
      share(
        `... by CPU a message`,
        figure("ManyLinksOneQueue", "Micros"),
        figure("ManyLinksManyQueues", "Micros"),
      );
      if (place === "alone") continue;
      for (const [shape, what] of SHAPES) {
        const key = `${shape}Rate`;
        share(`${what} ${where}, against alone`, facts[`${place}${key}`], facts[`alone${key}`]);
        const cpu = `${shape}Micros`;
        share("... by CPU a message", facts[`alone${cpu}`], facts[`${place}${cpu}`]);
      }
    }
    share(`${name}: many queues against one`, facts["manyQueuesRate"], facts["oneQueueRate"]);
    share("... by CPU a message", facts["oneQueueCpuMicros"], facts["manyQueuesCpuMicros"]);
    const { connections, alive } = facts;
    if (connections !== undefined) {
      judge(`${name}: kept`, alive, (value) => value === connections, `${connections}`, "");
    }
    if (facts["residentAfterRestartMiB"] !== undefined) {
      for (const key of ["residentMiB", "residentAfterRestartMiB"]) {
        const isEnough = (value: number): boolean => value <= RETAINED_MIB;
        judge(`${name}: ${wordsOf(key)}`, facts[key], isEnough, `≤ ${RETAINED_MIB} MiB`, " MiB");
      }
    }
    const wild = facts["cpuMicrosWith"];
    const wanted = `< ${WILDCARDS_MICROS} µs`;
    judge(`${name}: CPU a publish`, wild, (value) => value < WILDCARDS_MICROS, wanted, " µs");
  }
  return goals;
}

export function markdown(results: Results, machine: Machine, scale: number): string {
  const lines = [
    "# Many of everything",
    "",
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, Node ${process.versions.node}; load average ${machine.loadAverage} when the last part began.`,
    "Times and rates are wall-clock unless they say CPU; on a busy machine the CPU figures are the ones to compare.",
  ];
  if (scale === 1) {
    lines.push("", "| goal | wanted | measured | |", "|---|---|---|:-:|");
    for (const { what, wanted, measured, isReached } of scaleGoals(results)) {
      lines.push(`| ${what} | ${wanted} | ${measured} | ${isReached ? "✔" : "✘"} |`);
    }
  } else {
    lines.push(`Counts are ${scale} of the whole: nothing is judged.`);
  }
  for (const [name, facts] of Object.entries(results)) {
    lines.push("", `## ${name}`, "", "| | |", "|---|---|");
    for (const [key, value] of Object.entries(facts)) {
      lines.push(`| ${wordsOf(key)} | ${value.toLocaleString("en-US")} |`);
    }
  }
  return `${lines.join("\n")}\n`;
}
