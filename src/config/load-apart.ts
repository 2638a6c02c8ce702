/**
 * Loads the configuration on a thread that ends afterwards. Validation needs libraries that nobody needs later: this way
 * their memory (about 5 MiB resident) goes with the thread, and the rest of the start runs beside it.
 */
import { Worker } from "node:worker_threads";
import { ConfigError, type ConfigSources } from "./load-error.ts";
import type { Config } from "./schema.ts";

type Answer = { readonly config: Config } | { readonly problems: readonly string[] };

/** As `loadConfig`. */
export async function loadConfigApart(sources: ConfigSources): Promise<Config> {
  // The same module, compiled or not.
  const file = import.meta.url.endsWith(".ts") ? "./config-thread.ts" : "./config-thread.js";
  const worker = new Worker(new URL(file, import.meta.url), {
    name: "config",
    workerData: sources,
    resourceLimits: { maxYoungGenerationSizeMb: 4 },
  });
  const answer = await new Promise<Answer>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new Error(`the configuration thread left with ${code}`)));
  });
  await worker.terminate();
  if ("problems" in answer) throw new ConfigError(answer.problems);
  return answer.config;
}
