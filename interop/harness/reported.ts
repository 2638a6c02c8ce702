/**
 * Runs a client program in another language and turns its report into cells. The program prints one line per check,
 * form-encoded: `cell=KEY&ok=1&ms=12` or `cell=KEY&ok=0&error=...`; KEY is one of `capabilities.ts`. Other lines are kept for
 * the report of a failure. A program that ends without having reported fails as a whole.
 */
import { capabilityName } from "./capabilities.ts";
import { lastLines, run } from "./process.ts";
import type { StepContext } from "./step.ts";

export interface ReportedProgram {
  readonly client: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly limitMs: number;
}

export async function runReported(context: StepContext, program: ReportedProgram): Promise<void> {
  const { client, command, args } = program;
  let reported = 0;
  const onLine = (line: string): void => {
    if (!line.startsWith("cell=")) return;
    const form = new URLSearchParams(line.trim());
    const key = form.get("cell") ?? "";
    const capability = capabilityName(key);
    const ms = Number(form.get("ms") ?? 0);
    reported++;
    if (capability === undefined)
      context.fail(client, key, "reported a capability without a name", ms);
    else if (form.get("ok") === "1") context.pass(client, capability, "", ms);
    else context.fail(client, capability, form.get("error") ?? "no reason given", ms);
  };
  const options = {
    limitMs: program.limitMs,
    onLine,
    ...(program.cwd === undefined ? {} : { cwd: program.cwd }),
    ...(program.env === undefined ? {} : { env: program.env }),
  };
  const result = await run(command, args, options);
  if (result.status === 0 && reported > 0) return;
  const why = result.timedOut ? `stopped after ${program.limitMs} ms` : `status ${result.status}`;
  const tail = lastLines(`${result.stderr}\n${result.stdout}`, 8);
  context.fail(client, "ran to its end", `${why}, ${reported} cells reported\n${tail}`);
}
