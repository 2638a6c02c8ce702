/** Flags of every command that needs the configuration, and the configuration they ask for. */
import { parseArgs } from "node:util";
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

interface Flag {
  readonly name: string;
  readonly short: string;
  readonly value: string;
  readonly description: string;
  readonly isRepeated?: true;
}

const CONFIG_FLAGS: readonly Flag[] = [
  { name: "config", short: "c", value: "file", description: "configuration file (TOML)" },
  { name: "data", short: "d", value: "dir", description: "data directory" },
  {
    name: "set",
    short: "s",
    value: "key=value",
    description: "set one configuration key; may be repeated",
    isRepeated: true,
  },
];
const PORT_FLAG: Flag = {
  name: "port",
  short: "p",
  value: "port",
  description: "open just this one port, for every protocol",
};

export const withConfigFlags = (command: Command): Command => withFlags(command, CONFIG_FLAGS);
export const withServeFlags = (command: Command): Command =>
  withFlags(command, [...CONFIG_FLAGS, PORT_FLAG]);

function withFlags(command: Command, flags: readonly Flag[]): Command {
  for (const { name, short, value, description, isRepeated } of flags) {
    const names = `-${short}, --${name} <${value}>`;
    if (isRepeated) command.option(names, description, append);
    else command.option(names, description);
  }
  return command;
}

/** For an option that may be repeated. */
export const append = (value: string, before: readonly string[] = []): string[] => [
  ...before,
  value,
];

/**
 * The flags of a `serve` without mistakes, read without the command line library: the broker keeps for good what it
 * loads. undefined: let the library say what is wrong, or help.
 */
export function parseServeFlags(args: readonly string[]): ConfigFlags | undefined {
  const options = [...CONFIG_FLAGS, PORT_FLAG].map(({ name, short, isRepeated }) => [
    name,
    { type: "string", short, multiple: isRepeated === true },
  ]);
  try {
    return parseArgs({ args: [...args], options: Object.fromEntries(options) }).values;
  } catch {
    return undefined;
  }
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
