/** A headless Chromium page as a client: @stomp/stompjs and MQTT.js from their own bundles, over the browser's WebSocket. */
import type { BrokerProcess } from "../harness/broker-process.ts";
import { CAPABILITIES, type CapabilityKey } from "../harness/capabilities.ts";
import { Chromium, type Page } from "../harness/chromium.ts";
import { chromiumSetup } from "../harness/chromium-setup.ts";
import { equal } from "../harness/expect.ts";
import { servePage } from "../harness/page-server.ts";
import type { Step, StepContext } from "../harness/step.ts";

interface Library {
  readonly name: string;
  /** The page's own names: `runStomp`, `checks.stomp`, `reconnecting.stomp`. */
  readonly kind: "stomp" | "mqtt";
  readonly run: string;
  /** As an expression. */
  readonly version: string;
}

const LIBRARIES: readonly Library[] = [
  { name: "stompjs 1.2 in Chromium", kind: "stomp", run: "runStomp", version: '"1.2"' },
  { name: "stompjs 1.1 in Chromium", kind: "stomp", run: "runStomp", version: '"1.1"' },
  { name: "MQTT.js 3.1.1 in Chromium", kind: "mqtt", run: "runMqtt", version: "4" },
  { name: "MQTT.js 5 in Chromium", kind: "mqtt", run: "runMqtt", version: "5" },
];
const CHECK_LIMIT_MS = 40_000;

async function runLibrary(
  context: StepContext,
  page: Page,
  port: number,
  { name, kind, run, version }: Library,
): Promise<void> {
  const keys = (await page.evaluate(`checks.${kind}`)) as CapabilityKey[];
  for (const key of keys) {
    await context.check(name, CAPABILITIES[key], async () => {
      await page.evaluate(`${run}(${JSON.stringify(key)}, ${port}, ${version})`, CHECK_LIMIT_MS);
    });
  }
}

async function comesBack(
  context: StepContext,
  page: Page,
  broker: BrokerProcess,
  { name, kind, version }: Library,
): Promise<void> {
  await context.check(name, CAPABILITIES.reconnect, async () => {
    await page.evaluate(`reconnecting.${kind}.before(${broker.port}, ${version})`, CHECK_LIMIT_MS);
    await broker.kill();
    await broker.restart();
    await page.evaluate(`reconnecting.${kind}.after(${version})`, CHECK_LIMIT_MS);
  });
}

export const browserStep: Step = {
  name: "browser",
  about: "a page in headless Chromium: @stomp/stompjs and MQTT.js over WebSocket",
  table: "Browser",
  limitSeconds: 240,
  needs: [chromiumSetup],
  ownBrokerOnly: true,
  isOptional: true,
  async run(context) {
    const broker = await context.ownBroker();
    const server = await servePage();
    const chromium = await Chromium.launch();
    try {
      const page = await chromium.open(`http://127.0.0.1:${server.port}/`);
      for (const library of LIBRARIES) {
        await runLibrary(context, page, broker.port, library);
        await comesBack(context, page, broker, library);
      }
      const foreign = await chromium.open(`http://elsewhere.test:${server.port}/`);
      await context.check("any page", "a page of another site is not let in", async () => {
        equal(await foreign.evaluate(`connectsAtAll(${broker.port})`), false, "foreign page");
        equal(await page.evaluate(`connectsAtAll(${broker.port})`), true, "page of this machine");
      });
    } finally {
      await chromium.close();
      await server.close();
    }
  },
};
