/** Arguments in, exit code out. Complaints go to standard error, one sentence each. */
import { StartError } from "../start-error.ts";
import { parseServeFlags } from "./config-flags.ts";

export async function run(args: readonly string[]): Promise<number> {
  try {
    const flags = args[0] === "serve" ? parseServeFlags(args.slice(1)) : undefined;
    if (flags !== undefined) {
      const { serve } = await import("./serve.ts");
      return await serve(flags);
    }
    const { runProgram } = await import("./program.ts");
    return await runProgram(args);
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    process.stderr.write(`sluice: ${error.message.replaceAll("\n", "\nsluice: ")}\n`);
    return error.exitCode;
  }
}
