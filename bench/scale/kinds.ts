/** The idle things of a scale run, and how they are made: as clients would have them made, without the clients. */
import type { Broker } from "../../src/broker/broker.ts";
import { makeAddress } from "../../src/model/address.ts";
import { ANONYMOUS } from "../../src/security/principal.ts";
import type { StoreQueue } from "../../src/store/message-store.ts";

export const KINDS = [
  "queues",
  "topics",
  "light",
  "light-filled",
  "groups-one",
  "groups-many",
] as const;
export type Kind = (typeof KINDS)[number];

/** Light queues that one message goes to. */
const PER_RECORD = 25;
/** Made in one go before the event loop gets its turn. */
const BATCH = 1000;

export function connectTo(broker: Broker, clientId = ""): ReturnType<Broker["connect"]> {
  return broker.connect({
    protocol: "scale",
    remoteAddress: "127.0.0.1",
    remotePort: 1,
    principal: ANONYMOUS,
    clientId,
    namespace: "/",
    clientIdPolicy: "coexist",
    close() {},
  });
}

const NO_SINK = {
  isReady: () => false,
  deliver() {},
  onDrained() {},
  onCancel() {},
};

/** A durable subscription: made, and left. */
function subscribe(peer: ReturnType<Broker["connect"]>, topic: string, name: string): void {
  const consumer = peer.openConsumer(
    {
      address: makeAddress("topic", topic),
      mode: "consume",
      preSettled: false,
      onLost: 1,
      subscription: { clientId: "scale", name, isDurable: true, isShared: false },
    },
    NO_SINK,
  );
  consumer.close(1);
}

export async function makeMany(broker: Broker, kind: Kind, count: number): Promise<void> {
  const peer = connectTo(broker, "scale");
  const { registry } = broker;
  const waiting: StoreQueue[] = [];
  for (let i = 0; i < count; i++) {
    switch (kind) {
      case "queues":
        registry.create("queue", "/", `queue-${i}`, false);
        break;
      case "topics":
        registry.create("topic", "/", `topic-${i}`, false);
        break;
      case "light":
        registry.lightNode(`light-${i}`);
        break;
      case "light-filled":
        waiting.push(registry.lightNode(`light-${i}`).shards[0]!);
        if (waiting.length < PER_RECORD) break;
        broker.core.appendNote("", waiting);
        waiting.length = 0;
        break;
      case "groups-one":
        subscribe(peer, "one", `subscription-${i}`);
        break;
      default:
        subscribe(peer, `topic-${i}`, "subscription");
    }
    if (i % BATCH !== BATCH - 1) continue;
    broker.requestPublish();
    await new Promise(setImmediate);
  }
  broker.requestPublish();
  peer.close();
}
