#!/usr/bin/env node
/** The executable: arguments in, exit code out. The only file that ends the process. */
import { keepHeapSmall } from "./cli/lean-start.ts";
import { OutputClosedError, taken } from "./cli/output.ts";

keepHeapSmall();
// Whoever read the output may leave (`| head`, a log collector that dies): that ends nothing.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});
let code = 1;
try {
  const { run } = await import("./cli/run.ts");
  code = await run(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof OutputClosedError)) {
    process.stderr.write(
      `sluice: ${error instanceof Error ? (error.stack ?? error.message) : error}\n`,
    );
  }
}
await Promise.all([taken(process.stdout), taken(process.stderr)]);
process.exit(code);
