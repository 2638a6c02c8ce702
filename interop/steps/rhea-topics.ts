/** rhea on topics: fan-out, durable and shared subscriptions, selectors, delay and expiry, refusals. */
import rhea, { type Message, type ReceiverOptions } from "rhea";
import { sleep } from "../harness/broker-process.ts";
import { equal, truly } from "../harness/expect.ts";
import { type RheaPeer, type RheaReceiver, textOf } from "../harness/rhea-peer.ts";
import type { RheaChecks } from "./rhea-queues.ts";

async function publish(peer: RheaPeer, topic: string, ...texts: string[]): Promise<void> {
  const sender = await peer.sender(topic, "topic");
  for (const body of texts) await sender.deliver({ body, durable: true });
  await sender.close();
}

async function expectTexts(receiver: RheaReceiver, ...texts: string[]): Promise<void> {
  for (const text of texts) {
    const { message, delivery } = await receiver.next();
    equal(textOf(message), text);
    delivery.accept();
  }
  await receiver.expectEmpty();
}

/** As Qpid JMS attaches a subscription: the link's name is the subscription's name. */
const subscription = (
  topic: string,
  name: string,
  options: { durable?: boolean; capabilities?: string[]; filter?: object } = {},
): ReceiverOptions =>
  ({
    name,
    source: {
      address: topic,
      capabilities: ["topic", ...(options.capabilities ?? [])],
      ...(options.durable === true ? { durable: 2, expiry_policy: "never" } : {}),
      ...(options.filter === undefined ? {} : { filter: options.filter }),
    },
  }) as ReceiverOptions;

async function refused(attempt: Promise<unknown>, condition: string): Promise<void> {
  const error = await attempt.then(
    () => undefined,
    (refusal: unknown) => refusal as { condition?: unknown },
  );
  truly(error !== undefined, `refused with ${condition}`);
  equal(String(error.condition), condition, "condition");
}

export const TOPIC_CHECKS: RheaChecks = {
  "topic-fanout": async (peer, connect) => {
    const other = await connect();
    const a = await peer.receiver("rhea.fan", "topic");
    const b = await other.receiver("rhea.fan", "topic");
    await publish(peer, "rhea.fan", "one", "two", "three");
    await expectTexts(a, "one", "two", "three");
    await expectTexts(b, "one", "two", "three");
    // Without a subscriber a message for a topic is accepted and gone.
    await a.close();
    await b.close();
    await publish(peer, "rhea.fan", "nobody");
    await (await peer.receiver("rhea.fan", "topic")).expectEmpty();
    await other.close();
  },

  "topic-wildcard": async (peer) => {
    const one = await peer.receiver("rheaw.*.c", "topic");
    const all = await peer.receiver("rheaw.#", "topic");
    await publish(peer, "rheaw.a.c", "abc");
    await publish(peer, "rheaw.a.d", "abd");
    await expectTexts(one, "abc");
    await expectTexts(all, "abc", "abd");
  },

  durable: async (peer, connect) => {
    const first = await connect();
    const before = await first.receiver(subscription("rhea.dur", "sub-1", { durable: true }));
    await publish(peer, "rhea.dur", "one");
    await expectTexts(before, "one");
    before.detach();
    await first.close();
    await publish(peer, "rhea.dur", "two", "three");
    const second = await connect(first.containerId);
    const after = await second.receiver(subscription("rhea.dur", "sub-1", { durable: true }));
    await expectTexts(after, "two", "three");
    await second.close();
  },

  shared: async (peer, connect) => {
    const other = await connect();
    const capabilities = ["shared", "global"];
    const a = await peer.receiver(
      subscription("rhea.shared", "s|global-volatile1", { capabilities }),
    );
    const b = await other.receiver(
      subscription("rhea.shared", "s|global-volatile2", { capabilities }),
    );
    a.link.add_credit(10);
    b.link.add_credit(10);
    await publish(peer, "rhea.shared", ...Array.from({ length: 20 }, (_, n) => `m${n}`));
    const got = new Set<string>();
    for (const receiver of [a, b]) {
      for (let index = 0; index < 10; index++) {
        const { message, delivery } = await receiver.take();
        got.add(textOf(message));
        delivery.accept();
      }
    }
    equal(got.size, 20, "different messages over both members");
    await other.close();
  },

  selector: async (peer) => {
    const filter = rhea.filter.selector("color = 'red' AND size > 5");
    const receiver = await peer.receiver({
      source: { address: "rhea.sel", capabilities: ["queue"], filter },
    } as ReceiverOptions);
    truly(receiver.link.source.filter !== undefined, "the applied filter is answered");
    const sender = await peer.sender("rhea.sel");
    const message = (body: string, color: string, size: number): Message => ({
      body,
      application_properties: { color, size },
    });
    await sender.deliver(message("no", "blue", 10));
    await sender.deliver(message("yes", "red", 10));
    await sender.deliver(message("small", "red", 1));
    await expectTexts(receiver, "yes");
    await receiver.close();
    await expectTexts(await peer.receiver("rhea.sel"), "no", "small");
  },

  delay: async (peer) => {
    const receiver = await peer.receiver("rhea.delay");
    const sender = await peer.sender("rhea.delay");
    const due = Date.now() + 1500;
    await sender.deliver({
      body: "later",
      durable: true,
      message_annotations: { "x-opt-delivery-time": rhea.types.wrap_long(due) },
    });
    await sender.deliver({ body: "now", durable: true });
    await expectTexts(receiver, "now");
    const { message, delivery } = await receiver.next();
    truly(Date.now() >= due - 20, `delivered ${due - Date.now()} ms before it was due`);
    equal(textOf(message), "later");
    delivery.accept();
  },

  ttl: async (peer) => {
    const sender = await peer.sender("rhea.ttl");
    await sender.deliver({ body: "short", durable: true, ttl: 100 });
    await sender.deliver({ body: "long", durable: true, ttl: 60_000 });
    await sleep(400);
    const receiver = await peer.receiver("rhea.ttl");
    const { message, delivery } = await receiver.next();
    equal(textOf(message), "long");
    truly((message.ttl ?? 0) <= 60_000 && (message.ttl ?? 0) > 50_000, "ttl is what remains");
    delivery.accept();
    await receiver.expectEmpty();
  },

  priority: async (peer) => {
    const sender = await peer.sender("rhea.priority");
    for (const priority of [1, 4, 9, 4]) {
      await sender.deliver({ body: `p${priority}`, durable: true, priority });
    }
    await expectTexts(await peer.receiver("rhea.priority"), "p9", "p4", "p4", "p1");
  },

  refusals: async (peer, connect) => {
    const selector = rhea.filter.selector("color = = 'red'");
    const source = { address: "rhea.refuse", capabilities: ["queue"], filter: selector };
    await refused(peer.receiver({ source } as ReceiverOptions), "amqp:invalid-field");
    // A temporary queue belongs to its connection; a stranger may send to it, not receive.
    const temporary = await peer.receiver({ source: { dynamic: true } as never });
    const stranger = await connect();
    await refused(stranger.receiver(temporary.address), "amqp:resource-locked");
    await refused(
      stranger.receiver({ name: "nothing-here", source: null } as unknown as ReceiverOptions),
      "amqp:not-found",
    );
    // After all that the connections still work.
    const receiver = await stranger.receiver("rhea.refuse");
    const sender = await peer.sender("rhea.refuse");
    await sender.deliver({ body: "fine" });
    await expectTexts(receiver, "fine");
    await stranger.close();
  },
};
