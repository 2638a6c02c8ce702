/** rhea on queues: settlement, redelivery, drain, browsing, temporary queues. Runs over TCP and over WebSocket alike. */
import rhea, { type Message } from "rhea";
import type { Endpoint } from "../harness/broker-process.ts";
import type { CapabilityKey } from "../harness/capabilities.ts";
import { equal, truly } from "../harness/expect.ts";
import {
  type PeerOptions,
  type RheaPeer,
  type RheaReceiver,
  textOf,
} from "../harness/rhea-peer.ts";

/** Opens one more connection, under a container id of its own unless one is given. */
export type Connect = (containerId?: string) => Promise<RheaPeer>;
export type RheaCheck = (
  peer: RheaPeer,
  connect: Connect,
  endpoint: Endpoint,
  transport: PeerOptions,
) => Promise<void>;
export type RheaChecks = Partial<Record<CapabilityKey, RheaCheck>>;

const text = (index: number, prefix = "m"): Message => ({
  body: `${prefix}${index}`,
  durable: true,
});

async function fill(peer: RheaPeer, queue: string, count: number): Promise<void> {
  const sender = await peer.sender(queue);
  await sender.deliverAll(count, (index) => text(index));
  await sender.close();
}

const bodies = (messages: readonly Message[]): string => messages.map(textOf).join(",");

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const bodiesUpTo = (count: number): string =>
  Array.from({ length: count }, (_, index) => `m${index}`).join(",");

async function takeBodies(receiver: RheaReceiver, count: number): Promise<string> {
  return bodies(await receiver.acceptAll(count));
}

export const QUEUE_CHECKS: RheaChecks = {
  "send-receive": async (peer) => {
    const receiver = await peer.receiver("rhea.basic");
    const sender = await peer.sender("rhea.basic");
    await sender.deliver({ body: "hello", durable: true });
    const { message, delivery } = await receiver.next();
    equal(textOf(message), "hello");
    delivery.accept();
    await receiver.expectEmpty();
  },

  order: async (peer) => {
    await fill(peer, "rhea.order", 1000);
    const receiver = await peer.receiver("rhea.order");
    const messages = await receiver.acceptAll(1000);
    equal(bodies(messages), bodiesUpTo(messages.length));
    await receiver.expectEmpty();
  },

  bodies: async (peer) => {
    const sender = await peer.sender("rhea.bodies");
    const binary = Buffer.from([0, 1, 2, 255, 254]);
    const sections: unknown[] = [
      "text with ünïcødé ✓",
      rhea.message.data_section(binary),
      rhea.message.data_sections([binary, Buffer.from("second")]),
      rhea.message.sequence_section([1, "two", true, null]),
      { a: 1, b: "two", nested: { list: [1, 2, 3] } },
      12345,
      true,
      null,
      rhea.types.wrap_long(-5),
      rhea.types.wrap_timestamp(1_700_000_000_000),
      "",
      rhea.message.data_section(Buffer.alloc(0)),
    ];
    for (const body of sections) await sender.deliver({ body, durable: true });
    const receiver = await peer.receiver("rhea.bodies");
    const got = (await receiver.acceptAll(sections.length)).map(
      (message) => message.body as unknown,
    );
    const contentOf = (at: number): Buffer => (got[at] as { content: Buffer }).content;
    equal(got[0], sections[0]);
    equal(contentOf(1).toString("hex"), binary.toString("hex"));
    const parts = got[2] as { multiple?: boolean; content: Buffer[] };
    equal(parts.content.map(String).join("|"), [binary, "second"].map(String).join("|"));
    equal(JSON.stringify((got[3] as { content: unknown }).content), '[1,"two",true,null]');
    equal(JSON.stringify(got[4]), JSON.stringify(sections[4]));
    equal(got[5], 12345);
    equal(got[6], true);
    equal(got[7], null);
    equal(Number(got[8]), -5);
    equal(Number(got[9]), 1_700_000_000_000);
    equal(got[10], "");
    equal(contentOf(11).length, 0);
  },

  properties: async (peer) => {
    const sent: Message = {
      durable: true,
      priority: 7,
      message_id: "id-1",
      user_id: Buffer.from("guest") as unknown as string,
      to: "rhea.props",
      subject: "subject",
      reply_to: "somewhere",
      correlation_id: "corr",
      content_type: "text/plain",
      content_encoding: "identity",
      absolute_expiry_time: new Date(Date.now() + 3_600_000) as unknown as number,
      creation_time: new Date(1_700_000_000_000) as unknown as number,
      group_id: "group",
      group_sequence: 9,
      reply_to_group_id: "reply-group",
      message_annotations: { "x-opt-note": "kept" },
      // No footer: rhea writes it before the body, where the standard wants it behind.
      application_properties: { s: "text", n: 42, f: 1.5, b: true, "with space": "ok" },
      body: "b",
    } as unknown as Message;
    const sender = await peer.sender("rhea.props");
    await sender.deliver(sent);
    const receiver = await peer.receiver("rhea.props");
    const [got] = (await receiver.acceptAll(1)) as unknown as [Record<string, unknown>];
    for (const key of ["priority", "message_id", "to", "subject", "reply_to", "correlation_id"]) {
      equal(got[key], (sent as unknown as Record<string, unknown>)[key], key);
    }
    for (const key of ["content_type", "content_encoding", "group_id", "group_sequence"]) {
      equal(got[key], (sent as unknown as Record<string, unknown>)[key], key);
    }
    equal(got["reply_to_group_id"], "reply-group");
    equal(Number(got["creation_time"]), 1_700_000_000_000);
    equal(Number(got["absolute_expiry_time"]), Number(sent.absolute_expiry_time));
    equal(String(got["user_id"]), "guest");
    equal(got["durable"], true);
    const properties = got["application_properties"] as Record<string, unknown>;
    equal(JSON.stringify(properties), JSON.stringify(sent.application_properties));
    equal((got["message_annotations"] as Record<string, unknown>)["x-opt-note"], "kept");

    // Identifiers keep their type.
    const uuid = rhea.string_to_uuid("01234567-89ab-cdef-0123-456789abcdef");
    const ids = [rhea.types.wrap_ulong(77), rhea.types.wrap_uuid(uuid)];
    for (const id of ids) await sender.deliver({ message_id: id as unknown as string, body: "x" });
    const [first, second] = await receiver.acceptAll(2);
    equal(Number(first?.message_id), 77);
    const back = second?.message_id as unknown as Buffer;
    truly(
      Buffer.isBuffer(back) && back.equals(uuid as unknown as Buffer),
      "a uuid id stays a uuid",
    );
  },

  large: async (peer) => {
    const body = Buffer.alloc(8 * 1024 * 1024);
    for (let at = 0; at < body.length; at += 4) body.writeUInt32BE(at, at);
    const sender = await peer.sender("rhea.large");
    await sender.deliver({ body: rhea.message.data_section(body), durable: true });
    const receiver = await peer.receiver("rhea.large");
    const [message] = await receiver.acceptAll(1);
    const content = (message!.body as { content: Buffer }).content;
    truly(body.equals(content), `8 MiB came back as sent (${content.length} bytes)`);
  },

  "async-send": async (peer) => {
    const sender = await peer.sender("rhea.async");
    await sender.deliverAll(5000, (index) => text(index));
    const receiver = await peer.receiver("rhea.async");
    const messages = await receiver.acceptAll(5000);
    equal(bodies(messages), bodiesUpTo(messages.length));
  },

  presettled: async (peer) => {
    const sender = await peer.sender({
      target: { address: "rhea.presettled", capabilities: ["queue"] },
      snd_settle_mode: 1,
    });
    for (let index = 0; index < 20; index++) sender.link.send(text(index));
    const receiver = await peer.receiver({
      source: { address: "rhea.presettled", capabilities: ["queue"] },
      snd_settle_mode: 1,
    });
    receiver.link.add_credit(20);
    for (let index = 0; index < 20; index++) {
      const { message, delivery } = await receiver.take();
      equal(textOf(message), `m${index}`);
      truly(delivery.remote_settled, "delivery was sent settled");
    }
    await receiver.expectEmpty();
  },

  acknowledge: async (peer, connect) => {
    await fill(peer, "rhea.ack", 10);
    const first = await connect();
    equal(await takeBodies(await first.receiver("rhea.ack"), 4), "m0,m1,m2,m3");
    await first.close();
    const receiver = await peer.receiver("rhea.ack");
    equal(await takeBodies(receiver, 6), "m4,m5,m6,m7,m8,m9");
    await receiver.expectEmpty();
  },

  redelivery: async (peer) => {
    await fill(peer, "rhea.release", 3);
    const receiver = await peer.receiver("rhea.release");
    receiver.link.add_credit(3);
    const taken = [await receiver.take(), await receiver.take(), await receiver.take()];
    // One turn each: rhea merges dispositions of one turn into a range without looking at their outcome.
    taken[1]!.delivery.accept();
    await nextTurn();
    taken[2]!.delivery.release();
    await nextTurn();
    taken[0]!.delivery.release();
    await nextTurn();
    const again = [await receiver.next(), await receiver.next()];
    equal(
      again
        .map(({ message }) => textOf(message))
        .sort()
        .join(),
      "m0,m2",
    );
    for (const { message, delivery } of again) {
      equal(message.delivery_count ?? 0, 0, "a release is not a failed attempt");
      delivery.accept();
    }
    await receiver.expectEmpty();
  },

  "delivery-count": async (peer) => {
    await fill(peer, "rhea.count", 1);
    const receiver = await peer.receiver("rhea.count");
    for (let attempt = 0; attempt < 3; attempt++) {
      const { message, delivery } = await receiver.next();
      equal(message.delivery_count ?? 0, attempt, `delivery-count of attempt ${attempt}`);
      delivery.modified({ delivery_failed: true, undeliverable_here: false });
    }
    const { delivery } = await receiver.next();
    delivery.accept();
    await receiver.expectEmpty();
  },

  modify: async (peer, connect) => {
    await fill(peer, "rhea.modify", 1);
    const receiver = await peer.receiver("rhea.modify");
    const { delivery } = await receiver.next();
    delivery.modified({ delivery_failed: false, undeliverable_here: true });
    await receiver.expectEmpty();
    const other = await connect();
    const elsewhere = await other.receiver("rhea.modify");
    const again = await elsewhere.next();
    equal(textOf(again.message), "m0");
    again.delivery.accept();
    await other.close();
  },

  reject: async (peer) => {
    await fill(peer, "rhea.reject", 2);
    const receiver = await peer.receiver("rhea.reject");
    const { delivery } = await receiver.next();
    delivery.reject({ condition: "app:bad", description: "cannot be used" });
    equal(await takeBodies(receiver, 1), "m1");
    await receiver.expectEmpty();
    const dead = await peer.receiver("DLQ.rhea.reject");
    equal(await takeBodies(dead, 1), "m0");
  },

  "receive-timeout": async (peer) => {
    const receiver = await peer.receiver("rhea.drain");
    equal((await receiver.drain(5)).length, 0);
    await fill(peer, "rhea.drain", 3);
    const some = await receiver.drain(10);
    equal(some.map(({ message }) => textOf(message)).join(), "m0,m1,m2");
    for (const { delivery } of some) delivery.accept();
    // Credit works as before after a drain.
    await fill(peer, "rhea.drain", 1);
    equal(await takeBodies(receiver, 1), "m0");
  },

  "prefetch-0": async (peer) => {
    await fill(peer, "rhea.credit", 10);
    const one = await peer.receiver("rhea.credit");
    const two = await peer.receiver("rhea.credit");
    for (let index = 0; index < 10; index++) {
      const { message, delivery } = await (index % 2 === 0 ? one : two).next();
      equal(textOf(message), `m${index}`);
      delivery.accept();
    }
    equal(one.pending + two.pending, 0, "messages beyond the credit");
  },

  "concurrent-consumers": async (peer, connect) => {
    const others = await Promise.all([connect(), connect(), connect()]);
    const receivers = await Promise.all(others.map((other) => other.receiver("rhea.share")));
    for (const receiver of receivers) receiver.link.add_credit(20);
    await fill(peer, "rhea.share", 60);
    const got = new Set<string>();
    for (const receiver of receivers) {
      for (let index = 0; index < 20; index++) {
        const { message, delivery } = await receiver.take();
        truly(!got.has(textOf(message)), `${textOf(message)} was delivered once`);
        got.add(textOf(message));
        delivery.accept();
      }
    }
    equal(got.size, 60);
    for (const other of others) await other.close();
  },

  browse: async (peer) => {
    await fill(peer, "rhea.browse", 5);
    const browser = await peer.receiver({
      source: { address: "rhea.browse", capabilities: ["queue"], distribution_mode: "copy" },
      snd_settle_mode: 1,
    });
    const seen = await browser.drain(10);
    equal(seen.map(({ message }) => textOf(message)).join(), "m0,m1,m2,m3,m4");
    await browser.close();
    const receiver = await peer.receiver("rhea.browse");
    equal(await takeBodies(receiver, 5), "m0,m1,m2,m3,m4");
    await receiver.expectEmpty();
  },

  "request-reply": async (peer, connect) => {
    const service = await connect();
    const requests = await service.receiver("rhea.service");
    const answers = await service.sender({ target: {} });
    const replies = await peer.receiver({ source: { dynamic: true } as never });
    truly(replies.address.length > 0, "a dynamic source has an address");
    const sender = await peer.sender("rhea.service");
    const replyTo = replies.address;
    await sender.deliver({ body: "6*7", reply_to: replyTo, correlation_id: "q1" });
    const { message, delivery } = await requests.next();
    delivery.accept();
    const answer = { to: message.reply_to!, correlation_id: message.correlation_id!, body: "42" };
    await answers.deliver(answer);
    const reply = await replies.next();
    equal(textOf(reply.message), "42");
    equal(reply.message.correlation_id, "q1");
    reply.delivery.accept();
    await service.close();
  },

  "anonymous-producer": async (peer) => {
    const sender = await peer.sender({ target: {} });
    for (const queue of ["rhea.anon.a", "rhea.anon.b"]) {
      await (await peer.receiver(queue)).close();
      await sender.deliver({ to: queue, body: queue, durable: true });
    }
    for (const queue of ["rhea.anon.b", "rhea.anon.a"]) {
      equal(await takeBodies(await peer.receiver(queue), 1), queue);
    }
    const { outcome } = await sender.send({ body: "no address" });
    equal(outcome, "rejected", "a message without `to`");
  },

  "connection-loss": async (peer, connect) => {
    await fill(peer, "rhea.lost", 5);
    const victim = await connect();
    const taken = await victim.receiver("rhea.lost");
    taken.link.add_credit(5);
    for (let index = 0; index < 5; index++) await taken.take();
    victim.abort();
    const receiver = await peer.receiver("rhea.lost");
    equal(await takeBodies(receiver, 5), "m0,m1,m2,m3,m4");
    await receiver.expectEmpty();
  },

  "slow-neighbour": async (peer, connect) => {
    const stuck = await connect();
    const slow = await stuck.receiver("rhea.stuck");
    slow.link.add_credit(1000);
    await fill(peer, "rhea.stuck", 500);
    await slow.take();
    // 500 messages lie unsettled at the neighbour; this queue must not notice.
    await fill(peer, "rhea.free", 200);
    const receiver = await peer.receiver("rhea.free");
    equal((await receiver.acceptAll(200)).length, 200);
    stuck.abort();
  },
};
