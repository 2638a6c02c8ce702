/** `sluice serve`: runs the broker until it is told to stop. */
import type { Server } from "../server.ts";
import { EXIT, type ExitCode, StartError } from "../start-error.ts";
import { type ConfigFlags, configOf } from "./config-flags.ts";
import { ConfigWatch } from "./config-watch.ts";
import { growHeapAgain } from "./lean-start.ts";

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
  const server = await Server.start({ config, logger, loadConfig: () => configOf(flags) });
  const file = flags.config ?? process.env["SLUICE_CONFIG"];
  // What is wrong with it is in the log; the broker goes on with what it has.
  const reload = (): void => {
    server.reload().catch((error: Error) => {
      if (!(error instanceof StartError)) logger.error("config.failed", { error });
    });
  };
  const watch = file === undefined ? undefined : new ConfigWatch(file, reload);
  process.on("SIGHUP", () => {
    watch?.note();
    reload();
  });
  logger.info("ready", {
    ms: Math.round(performance.now() - began),
    data: config.data,
    message: nextStep(server),
  });
  growHeapAgain();
  const why = await Promise.race([stopped, server.failed]);
  watch?.close();
  const hasFailed = stopRequested === undefined;
  if (hasFailed) logger.error("failed", { message: `${why}; stopping (store.onFailure)` });
  else logger.info("stopping", { signal: why });
  await server.stop();
  logger.info("stopped");
  return hasFailed ? EXIT.FAILED : EXIT.OK;
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
