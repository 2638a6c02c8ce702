/** `sluice serve`: runs the broker until it is told to stop. */
import type { Command } from "commander";
import { loadConfigApart } from "../config/load-apart.ts";
import { ConfigError } from "../config/load-error.ts";
import type { Config } from "../config/schema.ts";
import type { Server } from "../server.ts";
import { EXIT, type ExitCode, StartError } from "../start-error.ts";
import { growHeapAgain } from "./lean-start.ts";

export interface ConfigFlags {
  readonly config?: string;
  readonly data?: string;
  readonly port?: string;
  readonly set?: readonly string[];
}

/** The flags that every command with a configuration has. */
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

/** The configuration that the flags and the environment ask for. Throws StartError. */
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

/** Resolves with the exit code once the broker has stopped. */
export async function serve(flags: ConfigFlags): Promise<ExitCode> {
  const began = performance.now();
  // Everything else is loaded beside it.
  const [config, { Server }, { createLogger }] = await Promise.all([
    configOf(flags),
    import("../server.ts"),
    import("../telemetry/winston-logger.ts"),
  ]);
  const logger = createLogger({ ...config.log, stream: process.stdout });
  let stopRequested: string | undefined;
  const stopped = new Promise<string>((resolve) => {
    const stop = (signal: string): void => {
      // Asked twice: whoever asks does not want to wait. The store recovers what a crash leaves.
      if (stopRequested !== undefined) process.exit(EXIT.FAILED);
      stopRequested = signal;
      resolve(signal);
    };
    process.on("SIGTERM", stop);
    process.on("SIGINT", stop);
  });
  const server = await Server.start({ config, logger });
  logger.info("ready", {
    ms: Math.round(performance.now() - began),
    data: config.data,
    message: nextStep(server),
  });
  growHeapAgain();
  const signal = await stopped;
  logger.info("stopping", { signal });
  await server.stop();
  logger.info("stopped");
  return EXIT.OK;
}

/** What somebody who sees this for the first time may try next. */
function nextStep(server: Server): string {
  for (const listener of server.listeners) {
    const { protocols } = server.config.listeners[listener.options.name]!;
    if (protocols.includes("http")) {
      return `try: curl http://${listener.options.host}:${listener.port}/healthz`;
    }
  }
  return "connect any AMQP, MQTT or STOMP client";
}
