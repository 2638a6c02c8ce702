/**
 * Runs test programs that other people wrote, compiled by `go test -c`, and makes each of their tests a cell. A suite that
 * reports fewer tests than expected fails: a test that no longer runs is not a test that passes.
 */
import { lastLines, run } from "./process.ts";
import type { StepContext } from "./step.ts";

export interface GoSuiteRun {
  /** Column of the table. */
  readonly suite: string;
  readonly binary: string;
  /** Regular expressions of the tests to run. */
  readonly tests: readonly string[];
  /** How many tests have to report. */
  readonly expected: number;
  readonly env: Readonly<Record<string, string>>;
  readonly limitSeconds: number;
}

export async function runGoSuite(context: StepContext, options: GoSuiteRun): Promise<void> {
  const { suite, limitSeconds } = options;
  const pattern = `^(${options.tests.join("|")})$`;
  const args = ["-test.v", `-test.timeout=${limitSeconds - 10}s`, `-test.run=${pattern}`];
  const result = await run(options.binary, args, {
    env: options.env,
    limitMs: limitSeconds * 1000,
  });
  const lines = result.stdout.split("\n");
  let reported = 0;
  for (const [at, line] of lines.entries()) {
    // Sub-tests are indented; their parent reports for them.
    const match = /^--- (PASS|FAIL|SKIP): (\S+) \(([\d.]+)s\)/.exec(line);
    if (match === null) continue;
    const [, verdict, name, seconds] = match as unknown as [string, string, string, string];
    const ms = Number(seconds) * 1000;
    reported++;
    if (verdict === "PASS") context.pass(suite, name, "", ms);
    else context.fail(suite, name, failureNear(lines, at, name, verdict), ms);
  }
  const panic = lines.find((line) => line.startsWith("panic:"));
  if (panic !== undefined) context.fail(suite, "ran to its end", panic);
  if (reported < options.expected) {
    const why = result.timedOut ? `stopped after ${limitSeconds} s` : `status ${result.status}`;
    const tail = lastLines(`${result.stdout}\n${result.stderr}`, 8);
    context.fail(suite, "ran all its tests", `${reported} of ${options.expected}, ${why}\n${tail}`);
  }
}

/** The lines that a failing test printed: after its RUN line, or indented below its verdict. */
function failureNear(lines: readonly string[], at: number, name: string, verdict: string): string {
  if (verdict === "SKIP") return "skipped by the suite";
  const below: string[] = [];
  for (const line of lines.slice(at + 1)) {
    if (!line.startsWith("    ")) break;
    below.push(line.trim());
  }
  const start = lines.lastIndexOf(`=== RUN   ${name}`, at);
  const above = lines.slice(start + 1, at).filter((line) => line.startsWith("    "));
  return [...above.map((line) => line.trim()), ...below].slice(0, 6).join(" / ");
}
