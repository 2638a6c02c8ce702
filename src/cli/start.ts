/** The program but for its end: arguments in, exit code out, once everything said has been taken. */
import { keepHeapSmall } from "./lean-start.ts";
import { OutputClosedError, taken } from "./output.ts";

export async function start(args: readonly string[]): Promise<number> {
  keepHeapSmall();
  // Whoever read the output may leave (`| head`, a log collector that dies): that ends nothing.
  process.stdout.on("error", () => {});
  process.stderr.on("error", () => {});
  let code = 1;
  try {
    const { run } = await import("./run.ts");
    code = await run(args);
  } catch (error) {
    if (!(error instanceof OutputClosedError)) {
      process.stderr.write(
        `sluice: ${error instanceof Error ? (error.stack ?? error.message) : error}\n`,
      );
    }
  }
  await Promise.all([taken(process.stdout), taken(process.stderr)]);
  return code;
}
