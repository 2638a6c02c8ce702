/** STOMP clients: stompit and @stomp/stompjs in JavaScript, stomp.py in Python; each in every version it speaks. */
import { join } from "node:path";
import type { Endpoint } from "../harness/broker-process.ts";
import { CAPABILITIES, type CapabilityKey } from "../harness/capabilities.ts";
import { ROOT } from "../harness/paths.ts";
import { runReported } from "../harness/reported.ts";
import type { Step, StepContext } from "../harness/step.ts";
import type { ConnectOptions, StompClient, Version } from "../harness/stomp-client.ts";
import { Stompit } from "../harness/stompit-client.ts";
import { Stompjs } from "../harness/stompjs-client.ts";
import { pythonEnvironment } from "../harness/toolchain.ts";
import { PYTHON_PACKAGES } from "../harness/versions.ts";
import { QUEUE_CHECKS, type StompCheck, type StompChecks } from "./stomp-queues.ts";
import { TOPIC_CHECKS } from "./stomp-topics.ts";

type Open = (endpoint: Endpoint, options: ConnectOptions) => Promise<StompClient>;

const VERSIONS: readonly Version[] = ["1.2", "1.1", "1.0"];

async function runChecks(
  context: StepContext,
  name: string,
  version: Version,
  open: Open,
): Promise<void> {
  const endpoint = await context.broker();
  const checks: StompChecks = { ...QUEUE_CHECKS, ...TOPIC_CHECKS };
  for (const [key, check] of Object.entries(checks) as [CapabilityKey, StompCheck][]) {
    await context.check(`${name} ${version}`, CAPABILITIES[key], async () => {
      const opened: StompClient[] = [];
      const connect = async (options: ConnectOptions = {}): Promise<StompClient> => {
        const client = await open(endpoint, { version, ...options });
        opened.push(client);
        return client;
      };
      const prefix = `${name}${version}.${key}`.replace(/[^a-z0-9]+/gi, "_");
      try {
        return await check({ client: await connect(), connect, endpoint, version, prefix });
      } finally {
        for (const client of opened) client.drop();
      }
    });
  }
}

function javaScriptStep(name: string, about: string, open: Open): Step {
  return {
    name,
    about,
    table: "STOMP",
    limitSeconds: 180,
    async run(context) {
      for (const version of VERSIONS) await runChecks(context, name, version, open);
    },
  };
}

export const stompitStep = javaScriptStep("stompit", "stompit over TCP", (endpoint, options) =>
  Stompit.connect(endpoint, options),
);
export const stompjsTcp = javaScriptStep(
  "stompjs",
  "@stomp/stompjs over TCP",
  (endpoint, options) => Stompjs.connect(endpoint, options),
);
export const stompjsWebSocket = javaScriptStep(
  "stompjs-ws",
  "@stomp/stompjs over WebSocket, text and binary",
  (endpoint, options) => Stompjs.connect(endpoint, { ...options, webSocket: true }),
);

export const stompPython = pythonEnvironment("stomp", PYTHON_PACKAGES.stomp);
export const STOMP_CLIENT = join(ROOT, "interop/stomp-py/client.py");

export const stompPy: Step = {
  name: "stomp-py",
  about: "stomp.py (Python)",
  table: "STOMP",
  limitSeconds: 120,
  needs: [stompPython],
  async run(context) {
    const { host, port, user, password } = await context.broker();
    for (const version of VERSIONS) {
      await runReported(context, {
        client: `stomp.py ${version}`,
        command: stompPython.python,
        args: [STOMP_CLIENT, "cells", host, String(port), user, password, version],
        limitMs: 60_000,
      });
    }
  },
};
