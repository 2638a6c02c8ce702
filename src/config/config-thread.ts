/** The other end of `loadConfigApart`: runs once, answers once. */
import { parentPort, workerData } from "node:worker_threads";
import { ConfigError, type ConfigSources, loadConfig } from "./load.ts";

try {
  parentPort?.postMessage({ config: loadConfig(workerData as ConfigSources) });
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  parentPort?.postMessage({ problems: error.message.split("\n") });
}
