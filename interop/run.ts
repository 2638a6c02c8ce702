/**
 * `npm run interop`: starts the real server for each step, drives it with a real client, prints the table, and fails on any
 * cell that does not hold.
 *
 *   npm run interop -- [--list] [--prepare] [--only STEP[,STEP]]... [--against amqp://user:pass@host:port] [--no-docs]
 *                      [--rounds N] [--jobs N] [--verbose]
 *
 * `--prepare` only installs what the steps need. A step whose client cannot be installed here is skipped and says so; with CI=true that is a failure unless the step is optional. A complete run
 * rewrites docs/interop.md. The last line is `N passed, N failed`.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import type { Endpoint } from "./harness/broker-process.ts";
import { ROOT, workDir } from "./harness/paths.ts";
import { lastLines } from "./harness/process.ts";
import { consoleTables, interopDocument, type Skipped, type TabledCell } from "./harness/report.ts";
import { type Cell, reason, type Step, StepContext, within } from "./harness/step.ts";
import { STEPS } from "./steps/index.ts";

const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

const { values } = parseArgs({
  options: {
    prepare: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
    only: { type: "string", multiple: true, default: [] },
    against: { type: "string" },
    "no-docs": { type: "boolean", default: false },
    rounds: { type: "string" },
    jobs: { type: "string", default: "3" },
    verbose: { type: "boolean", default: false },
  },
});

function chosenSteps(): readonly Step[] {
  const names = values.only.flatMap((list) => list.split(","));
  const unknown = names.filter((name) => !STEPS.some((step) => step.name === name));
  if (unknown.length > 0) {
    throw new Error(`no step called ${unknown.join(", ")}; npm run interop -- --list shows them`);
  }
  return names.length === 0 ? STEPS : STEPS.filter((step) => names.includes(step.name));
}

function foreignBroker(): Endpoint | undefined {
  if (values.against === undefined) return undefined;
  const { hostname, port, username, password } = new URL(values.against);
  const host = hostname === "" ? "127.0.0.1" : hostname;
  return { host, port: Number(port), user: username || "guest", password: password || "guest" };
}

function printCell(cell: Cell): void {
  const mark = { pass: "ok  ", fail: "FAIL", skip: "skip" }[cell.status];
  const note = cell.note === "" ? "" : `: ${cell.note}`;
  say(`  ${mark} ${cell.client} — ${cell.capability} (${Math.round(cell.ms)} ms)${note}`);
}

/** Why the step cannot run, or undefined once everything it needs is there. */
async function prepare(step: Step): Promise<string | undefined> {
  try {
    for (const setup of step.needs ?? []) await setup.prepare();
    return undefined;
  } catch (error) {
    return lastLines(reason(error), 5);
  }
}

async function prepareAll(steps: readonly Step[]): Promise<boolean> {
  const missing = await Promise.all(steps.map(async (step) => [step.name, await prepare(step)]));
  for (const [name, why] of missing) say(`${name}: ${why ?? "ready"}`);
  return missing.every(([, why]) => why === undefined);
}

async function runStep(step: Step, against: Endpoint | undefined): Promise<Cell[]> {
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  const context = new StepContext(step.name, { against, rounds }, printCell);
  try {
    await within(step.limitSeconds * 1000, step.run(context), `step ${step.name}`);
    if (context.cells.length === 0) context.fail(step.name, "ran to its end", "reported no cell");
  } catch (error) {
    context.fail(step.name, "ran to its end", reason(error));
  }
  if (values.verbose || context.cells.some((cell) => cell.status === "fail")) {
    const lines = context.brokerOutput().split("\n");
    const telling = values.verbose
      ? lines
      : lines.filter((line) => !line.includes('"level":"info"'));
    const output = lastLines(telling.join("\n"), 15);
    if (output !== "") say(output.replace(/^/gm, "    broker| "));
  }
  await context.dispose();
  return context.cells;
}

async function main(): Promise<boolean> {
  const steps = chosenSteps();
  if (values.list) {
    for (const step of steps) say(`${step.name.padEnd(20)} ${step.about}`);
    return true;
  }
  if (values.prepare) return prepareAll(steps);
  const against = foreignBroker();
  const skipped: Skipped[] = [];
  const required: Skipped[] = [];
  const cells: TabledCell[] = [];
  // Installing is waiting for the network: all of it starts now, while the first steps run.
  const prepared = new Map(steps.map((step) => [step, prepare(step)]));
  const one = async (step: Step): Promise<void> => {
    if (against !== undefined && step.ownBrokerOnly === true) {
      skipped.push({ step: step.name, why: "needs a broker it can kill" });
      return;
    }
    const missing = await prepared.get(step);
    if (missing !== undefined) {
      const skip = { step: step.name, why: missing };
      skipped.push(skip);
      if (step.isOptional !== true) required.push(skip);
      return;
    }
    const began = performance.now();
    say(`${step.name}: ${step.about}`);
    for (const cell of await runStep(step, against)) cells.push({ table: step.table, cell });
    say(`${step.name}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
  };
  // Steps have brokers of their own and mostly wait for clients, so some run side by side; a foreign broker is shared.
  const jobs = against === undefined ? Number(values.jobs) : 1;
  const together = steps.filter((step) => step.isAlone !== true);
  const next = together.values();
  const lane = async (): Promise<void> => {
    for (const step of next) await one(step);
  };
  await Promise.all(Array.from({ length: jobs }, lane));
  for (const step of steps.filter((each) => each.isAlone === true)) await one(step);
  // The tables are in the order of the steps, whichever ended first.
  const place = new Map(steps.map((step, at) => [step.name, at]));
  cells.sort((a, b) => (place.get(a.cell.step) ?? 0) - (place.get(b.cell.step) ?? 0));

  say(`\n${consoleTables(cells)}`);
  for (const { cell } of cells) if (cell.status === "fail") printCell(cell);
  for (const { step, why } of skipped) say(`NOT RUN ${step}: ${why}`);
  writeFileSync(join(workDir("interop"), "results.json"), JSON.stringify({ cells, skipped }));
  const isComplete = steps.length === STEPS.length && skipped.length === 0 && against === undefined;
  if (isComplete && !values["no-docs"]) {
    const file = join(ROOT, "docs/interop.md");
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, interopDocument(cells, skipped));
  }
  const passed = cells.filter(({ cell }) => cell.status === "pass").length;
  const skipsCount = process.env["CI"] === "true" ? required.length : 0;
  const failed = cells.filter(({ cell }) => cell.status === "fail").length + skipsCount;
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0;
}

main().then(
  (good) => process.exit(good ? 0 : 1),
  (error) => {
    say(`interop: ${reason(error)}`);
    say("0 passed, 1 failed");
    process.exit(2);
  },
);
