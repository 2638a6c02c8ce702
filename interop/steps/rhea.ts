/** rhea (JavaScript), unmodified: every check over TCP, then every check again over a WebSocket with sub-protocol `amqp`. */
import { type Endpoint, sleep } from "../harness/broker-process.ts";
import { CAPABILITIES, type CapabilityKey } from "../harness/capabilities.ts";
import { truly } from "../harness/expect.ts";
import { type PeerOptions, RheaPeer, textOf } from "../harness/rhea-peer.ts";
import type { Step, StepContext } from "../harness/step.ts";
import { QUEUE_CHECKS, type RheaCheck, type RheaChecks } from "./rhea-queues.ts";
import { TOPIC_CHECKS } from "./rhea-topics.ts";

const CONNECTION_CHECKS: RheaChecks = {
  heartbeat: async (_peer, _connect, endpoint, transport) => {
    const idle = await RheaPeer.connect(endpoint, { ...transport, idleTimeoutMs: 1000 });
    await sleep(3500);
    truly(idle.error === undefined, `idle connection lives: ${String(idle.error)}`);
    const receiver = await idle.receiver("rhea.idle");
    const sender = await idle.sender("rhea.idle");
    await sender.deliver({ body: "still here" });
    truly(textOf((await receiver.next()).message) === "still here", "and works");
    await idle.close();
  },
};

async function runChecks(
  context: StepContext,
  client: string,
  endpoint: Endpoint,
  transport: PeerOptions,
): Promise<void> {
  const checks: RheaChecks = { ...QUEUE_CHECKS, ...TOPIC_CHECKS, ...CONNECTION_CHECKS };
  for (const [key, check] of Object.entries(checks) as [CapabilityKey, RheaCheck][]) {
    await context.check(client, CAPABILITIES[key], async () => {
      const opened: RheaPeer[] = [];
      const connect = async (containerId?: string): Promise<RheaPeer> => {
        const id = containerId === undefined ? {} : { containerId };
        const peer = await RheaPeer.connect(endpoint, { ...transport, ...id });
        opened.push(peer);
        return peer;
      };
      try {
        await check(await connect(), connect, endpoint, transport);
      } finally {
        for (const peer of opened) await peer.close();
      }
    });
  }
}

function rheaStep(name: string, client: string, transport: PeerOptions): Step {
  return {
    name,
    about: `rhea ${transport.webSocket === true ? "over WebSocket" : "over TCP"}`,
    table: "AMQP 1.0",
    limitSeconds: 180,
    async run(context) {
      await runChecks(context, client, await context.broker(), transport);
    },
  };
}

export const rheaTcp = rheaStep("rhea", "rhea", {});
export const rheaWebSocket = rheaStep("rhea-ws", "rhea (WebSocket)", { webSocket: true });
