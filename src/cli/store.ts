/** `sluice store`: looking after the files of a broker that does not run. */
import type { Command } from "commander";
import { EXIT, type ExitCode, StartError } from "../start-error.ts";
import { checkStore } from "../store/check.ts";
import type { CheckProgress, FileReport, StoreReport } from "../store/check-report.ts";
import { exportStore } from "../store/export.ts";
import { repairStore } from "../store/repair.ts";
import { isSystemError } from "../store/storage-file.ts";
import { StoreOpenError } from "../store/store-lock.ts";
import { type ConfigFlags, configOf, withConfigFlags } from "./config-flags.ts";
import { LineOutput } from "./output.ts";
import { formatBytes, formatTable } from "./table.ts";

interface StoreFlags extends ConfigFlags {
  readonly json?: boolean;
  readonly all?: boolean;
  readonly topic?: string;
}

export function addStoreCommands(program: Command, leave: (code: ExitCode) => void): void {
  const store = program.command("store").description("the files of a broker that does not run");

  withConfigFlags(store.command("check"))
    .description("read everything and say what is wrong; changes nothing; exit 1 when damaged")
    .option("--json", "print the report as JSON")
    .option("--all", "list sound files too")
    .action(async (flags: StoreFlags) => {
      const { data: directory } = await configOf(flags);
      const report = await opening(() => checkStore({ directory, onProgress: progress() }));
      clearProgress();
      if (flags.json === true) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
      else process.stdout.write(reportPage(report, flags.all === true));
      leave(report.state === "damaged" ? EXIT.FAILED : EXIT.OK);
    });

  withConfigFlags(store.command("repair"))
    .description("make everything again that can be made from the log")
    .option("--json", "print the report as JSON")
    .action(async (flags: StoreFlags) => {
      const { data: directory } = await configOf(flags);
      const report = await opening(() => repairStore({ directory, onProgress: progress() }));
      clearProgress();
      if (flags.json === true) {
        process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
      } else {
        for (const warning of report.warnings) process.stdout.write(`${warning}\n`);
        process.stdout.write(
          report.isRebuilt ? "queues and indexes were made again from the log\n" : "",
        );
        process.stdout.write(reportPage(report.after, false));
      }
      leave(report.after.state === "damaged" ? EXIT.FAILED : EXIT.OK);
    });

  withConfigFlags(store.command("export"))
    .description("write the messages, one JSON object a line")
    .option("--topic <name>", "only of this topic, as it is called in the log")
    .action(async (flags: StoreFlags) => {
      const { data: directory } = await configOf(flags);
      const { topic } = flags;
      const output = new LineOutput();
      const report = await opening(() =>
        exportStore(
          { directory, onProgress: progress(), ...(topic === undefined ? {} : { topic }) },
          (line) => output.line(line),
        ),
      );
      output.flush();
      clearProgress();
      const { records, damagedRanges, incompleteBatches, refusals } = report;
      for (const refusal of refusals) process.stderr.write(`${refusal}\n`);
      process.stderr.write(
        `${records} messages; left out: ${damagedRanges} damaged ranges, ${incompleteBatches} batches that were never whole\n`,
      );
      leave(refusals.length > 0 ? EXIT.FAILED : EXIT.OK);
    });
}

/** A store that cannot be opened, or that the disk refuses to give, is a sentence, not a crash. */
async function opening<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    clearProgress();
    if (!(error instanceof StoreOpenError) && !isSystemError(error)) throw error;
    throw new StartError(EXIT.DATA_UNUSABLE, error.message + adviceFor(error), { cause: error });
  }
}

function adviceFor(error: Error): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case "EACCES":
    case "EPERM":
      return "; run this as the user of the broker, or give the file to that user";
    case "EROFS":
      return "; mount the file system so that it can be written to";
    case "EISDIR":
    case "ENOTDIR":
      return "; move away what is there, and run this again";
    case "EIO":
      return "; the disk fails: copy the data directory to a sound one first";
    default:
      return "";
  }
}

const PROGRESS_MS = 200;
const LINE_MS = 10_000;

/** On a terminal one line that changes; elsewhere a line now and then, of work that takes long. */
function progress(): (progress: CheckProgress) => void {
  if (!process.stderr.isTTY) return lines();
  let last = 0;
  return ({ path, doneBytes, totalBytes }) => {
    const now = Date.now();
    if (now - last < PROGRESS_MS) return;
    last = now;
    const share = totalBytes > 0 ? ` ${Math.floor((doneBytes / totalBytes) * 100)} %` : "";
    process.stderr.write(`\r\x1b[K${path}${share}`);
  };
}

function lines(): (progress: CheckProgress) => void {
  let last = Date.now();
  return ({ path, doneBytes, totalBytes }) => {
    const now = Date.now();
    if (now - last < LINE_MS) return;
    last = now;
    const share = totalBytes > 0 ? ` ${Math.floor((doneBytes / totalBytes) * 100)} %` : "";
    process.stderr.write(`${path}${share}\n`);
  };
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
}

function reportPage(report: StoreReport, withSound: boolean): string {
  const shown = report.files.filter(
    ({ state, findingCount }) => withSound || state !== "sound" || findingCount > 0,
  );
  const lines = [
    shown.length === 0 ? "" : `${fileTable(shown)}\n`,
    ...shown.flatMap(({ path, findings, findingCount }) => [
      ...findings.map((finding) => `${path}: ${finding}\n`),
      ...(findingCount > findings.length
        ? [`${path}: ${findingCount - findings.length} more findings\n`]
        : []),
    ]),
    `${report.state}: ${report.records} records, ${formatBytes(report.logEnd - report.logStart)} of log, ${report.queues} queues, ${report.lightQueues} subscriptions and sessions, ${report.quarantined} ranges in quarantine (${report.directory})\n`,
  ];
  return lines.join("");
}

const fileTable = (files: readonly FileReport[]): string =>
  formatTable(
    ["file", "state", "size", "items", "can be made again"],
    files.map(({ path, state, bytes, items, isDerived }) => [
      path,
      state,
      formatBytes(bytes),
      items,
      isDerived,
    ]),
  );
