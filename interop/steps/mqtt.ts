/** MQTT.js in every version, over TCP and WebSocket. */
import { CAPABILITIES, type CapabilityKey } from "../harness/capabilities.ts";
import { type MqttOptions, MqttPeer, type MqttVersion } from "../harness/mqtt-peer.ts";
import type { Step, StepContext } from "../harness/step.ts";
import {
  COMMON_CHECKS,
  type MqttCheck,
  type MqttChecks,
  sessionSurvivesRestart,
} from "./mqtt-common.ts";
import { FIVE_CHECKS } from "./mqtt-five.ts";

const NAMES: Readonly<Record<MqttVersion, string>> = { 3: "3.1", 4: "3.1.1", 5: "5" };

async function runChecks(
  context: StepContext,
  version: MqttVersion,
  transport: MqttOptions,
): Promise<void> {
  const endpoint = await context.broker();
  const suffix = transport.webSocket === true ? " (WebSocket)" : "";
  const client = `MQTT.js ${NAMES[version]}${suffix}`;
  const checks: MqttChecks = { ...COMMON_CHECKS, ...(version === 5 ? FIVE_CHECKS : {}) };
  const only = process.env["CHECKS"]?.split(",");
  for (const [key, check] of Object.entries(checks) as [CapabilityKey, MqttCheck][]) {
    if (only !== undefined && !only.includes(key)) continue;
    await context.check(client, CAPABILITIES[key], async () => {
      const opened: MqttPeer[] = [];
      const connect = async (options: MqttOptions = {}): Promise<MqttPeer> => {
        const peer = await MqttPeer.connect(endpoint, { version, ...transport, ...options });
        opened.push(peer);
        return peer;
      };
      // MQTT 3.1 allows client ids of 23 characters.
      const prefix = `${transport.webSocket === true ? "w" : "t"}${version}${key.slice(0, 8)}`;
      try {
        await check({ peer: await connect(), connect, endpoint, version, prefix });
      } finally {
        for (const peer of opened) await peer.end();
      }
    });
  }
}

export const mqttJsTcp: Step = {
  name: "mqttjs",
  about: "MQTT.js over TCP: 3.1, 3.1.1 and 5, and a persistent session across SIGKILL",
  table: "MQTT",
  limitSeconds: 240,
  async run(context) {
    for (const version of [3, 4, 5] as const) await runChecks(context, version, {});
    if (context.isForeign) return;
    const broker = await context.ownBroker();
    for (const version of [4, 5] as const) {
      await context.check(`MQTT.js ${NAMES[version]}`, CAPABILITIES.restart, () =>
        sessionSurvivesRestart(
          broker,
          (options) => MqttPeer.connect(broker, { version, ...options }),
          version,
        ),
      );
    }
  },
};

export const mqttJsWebSocket: Step = {
  name: "mqttjs-ws",
  about: "MQTT.js over WebSocket: 3.1.1 and 5",
  table: "MQTT",
  limitSeconds: 180,
  async run(context) {
    for (const version of [4, 5] as const) {
      await runChecks(context, version, { webSocket: true });
    }
  },
};
