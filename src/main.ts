#!/usr/bin/env node
/** The executable: arguments in, exit code out. The only file that ends the process. */
import { keepHeapSmall } from "./cli/lean-start.ts";

keepHeapSmall();
try {
  const { run } = await import("./cli/run.ts");
  process.exit(await run(process.argv.slice(2)));
} catch (error) {
  process.stderr.write(
    `sluice: ${error instanceof Error ? (error.stack ?? error.message) : error}\n`,
  );
  process.exit(1);
}
