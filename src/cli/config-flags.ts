/** Flags of every command that needs the configuration, and the configuration they ask for. */
import type { Command } from "commander";
import { loadConfigApart } from "../config/load-apart.ts";
import { ConfigError } from "../config/load-error.ts";
import type { Config } from "../config/schema.ts";
import { EXIT, StartError } from "../start-error.ts";

export interface ConfigFlags {
  readonly config?: string;
  readonly data?: string;
  readonly port?: string;
  readonly set?: readonly string[];
}

export function withConfigFlags(command: Command): Command {
  return command
    .option("-c, --config <file>", "configuration file (TOML)")
    .option("-d, --data <dir>", "data directory")
    .option(
      "-s, --set <key=value>",
      "set one configuration key; may be repeated",
      (setting: string, before: string[]) => [...before, setting],
      [] as string[],
    );
}

/** Throws StartError. */
export async function configOf(flags: ConfigFlags): Promise<Config> {
  try {
    return await loadConfigApart({
      file: flags.config ?? process.env["SLUICE_CONFIG"],
      environment: { ...process.env },
      settings: flags.set ?? [],
      data: flags.data,
      port: flags.port,
    });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new StartError(EXIT.BAD_CONFIGURATION, error.message, { cause: error });
  }
}
