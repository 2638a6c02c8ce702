/**
 * Sluice inside another program: the same broker as `sluice serve`, started and stopped by a call.
 *
 *   const broker = await startBroker({ settings: ["listeners.main.port=0"], data: "./data" });
 *   …
 *   await broker.stop();
 */
import { type ConfigSources, loadConfig } from "./config/load.ts";
import { Server } from "./server.ts";
import { type Logger, SILENT } from "./telemetry/log.ts";

export { ConfigError, type ConfigSources } from "./config/load.ts";
export { StartError } from "./start-error.ts";
export type { LogFields, Logger } from "./telemetry/log.ts";
export { VERSION } from "./version.ts";

/** Where the configuration comes from, as for the command line, and who gets the log. */
export interface StartOptions extends ConfigSources {
  /** Default: nobody. */
  readonly logger?: Logger;
}

export interface RunningBroker {
  /** Ports in use, by name of the listener. */
  readonly ports: Readonly<Record<string, number>>;
  /** Lets clients settle for a bounded time, syncs and closes. */
  stop(): Promise<void>;
}

/** Starts a broker. Rejects with ConfigError or StartError; then nothing is left behind. */
export async function startBroker(options: StartOptions = {}): Promise<RunningBroker> {
  const { logger = SILENT, ...sources } = options;
  const server = await Server.start({ config: loadConfig(sources), logger });
  const ports = server.listeners.map(({ options: { name }, port }) => [name, port]);
  return { ports: Object.fromEntries(ports), stop: () => server.stop() };
}
