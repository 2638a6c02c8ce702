/**
 * STOMP and AMQP 1.0 through one broker, both ways: the golden cases that involve the two (bodies, typed properties, ids,
 * replies, topics, dead letters), with stompit and rhea as they come.
 */
import rhea, { type Message } from "rhea";
import type { Endpoint } from "../harness/broker-process.ts";
import { equal, truly } from "../harness/expect.ts";
import { expectGoldenText } from "../harness/golden-text.ts";
import { RheaPeer, textOf } from "../harness/rhea-peer.ts";
import type { Step } from "../harness/step.ts";
import { Stompit } from "../harness/stompit-client.ts";

interface Pair {
  readonly amqp: RheaPeer;
  readonly stomp: Stompit;
  readonly endpoint: Endpoint;
}
type Golden = (pair: Pair) => Promise<unknown>;

const { types } = rhea;
const DATA_SECTION = 0x75;
const SEQUENCE_SECTION = 0x76;

/** rhea shows a data section as its type code and content. */
function sectionOf(message: Message): { code: number; content: unknown } {
  const body = message.body as { typecode?: number; content?: unknown } | null;
  return { code: body?.typecode ?? 0, content: body?.content };
}

async function toStomp({ amqp, stomp }: Pair, queue: string, message: Message) {
  const inbox = await stomp.subscribe(`/queue/${queue}`);
  const sender = await amqp.sender(queue);
  await sender.deliver(message);
  await sender.close();
  const received = await inbox.next();
  await inbox.unsubscribe();
  return received;
}

async function toAmqp(
  { amqp, stomp }: Pair,
  queue: string,
  body: string | Buffer,
  headers: Readonly<Record<string, string>> = {},
): Promise<Message> {
  const receiver = await amqp.receiver(queue);
  await stomp.send(`/queue/${queue}`, body, headers);
  const { message, delivery } = await receiver.next();
  delivery.accept();
  await receiver.close();
  return message;
}

const CASES: Readonly<Record<string, Golden>> = {
  "AMQP text with typed properties → STOMP headers": async (pair) => {
    const frame = await toStomp(pair, "golden.text", {
      body: "hé",
      durable: true,
      priority: 7,
      ttl: 5000,
      subject: "T",
      correlation_id: "c1",
      application_properties: { a: types.wrap_int(1), b: true, s: "text", d: 1.5 },
    } as Message);
    expectGoldenText(frame, "/queue/golden.text");
    equal(frame.headers["s"], "text");
    equal(frame.headers["d"], "1.5");
  },

  "STOMP headers → AMQP properties": async (pair) => {
    const expires = Date.now() + 60_000;
    const message = await toAmqp(pair, "golden.headers", "x", {
      type: "T",
      "correlation-id": "c1",
      priority: "7",
      expires: String(expires),
      JMSXGroupID: "g",
      color: "red",
      "x-note": "n",
    });
    equal(message.subject, "T");
    equal(String(message.correlation_id), "c1");
    equal(message.priority, 7);
    equal(message.durable, true);
    equal(message.group_id, "g");
    equal(message.application_properties?.["color"], "red");
    equal(message.message_annotations?.["x-note"], "n");
    truly(message.ttl !== undefined && message.ttl > 50_000, `ttl ${message.ttl}`);
  },

  "STOMP body without content-length is text": async (pair) => {
    const message = await toAmqp(pair, "golden.nolength", "grüße");
    equal(message.body, "grüße", "an amqp-value string");
  },

  "STOMP body with content-length is bytes, unless it says it is text": async (pair) => {
    const bytes = await toAmqp(pair, "golden.bytes", "abc", { "content-length": "3" });
    equal(sectionOf(bytes).code, DATA_SECTION, "a data section");
    equal(String(sectionOf(bytes).content), "abc");
    const text = await toAmqp(pair, "golden.textual", "abc", {
      "content-length": "3",
      "content-type": "text/plain",
    });
    equal(textOf(text), "abc");
    equal(String(text.content_type ?? "text/plain"), "text/plain");
  },

  "bytes survive both ways": async (pair) => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
    const there = await toStomp(pair, "golden.raw", {
      body: rhea.message.data_section(all),
    } as Message);
    truly(there.body.equals(all), "AMQP → STOMP");
    const back = await toAmqp(pair, "golden.raw2", all, { "content-length": "256" });
    truly(all.equals(sectionOf(back).content as Buffer), "STOMP → AMQP");
  },

  "a typed id comes back typed": async (pair) => {
    const uuid = "00112233-4455-6677-8899-aabbccddeeff";
    const { headers } = await toStomp(pair, "golden.id", {
      body: "x",
      message_id: types.wrap_uuid(rhea.string_to_uuid(uuid)) as never,
    });
    equal(headers["amqp-message-id"], `urn:uuid:${uuid}`);
    const message = await toAmqp(pair, "golden.id2", "x", {
      "correlation-id": headers["amqp-message-id"]!,
    });
    equal(rhea.uuid_to_string(message.correlation_id as unknown as Buffer), uuid);
    const binary = await toStomp(pair, "golden.id3", {
      body: "x",
      correlation_id: types.wrap_binary(Buffer.from([1, 2])) as never,
    });
    equal(binary.headers["correlation-id"], "ID:AMQP_BINARY:0102");
  },

  "an AMQP map is JSON for STOMP, and a map again": async (pair) => {
    const map = { i: types.wrap_int(1), l: types.wrap_long(2), s: "x" };
    const { headers, body } = await toStomp(pair, "golden.map", {
      body: types.wrap_map(map),
    } as Message);
    equal(body.toString(), '{"i":1,"l":{"$l":"2"},"s":"x"}');
    equal(headers["content-type"], "application/json");
    equal(headers["transformation"], "jms-map-json");
    const message = await toAmqp(pair, "golden.map2", body, {
      "content-length": String(body.length),
      transformation: headers["transformation"]!,
    });
    equal(JSON.stringify(message.body), '{"i":1,"l":2,"s":"x"}', "a map");
  },

  "an AMQP list is JSON for STOMP, and a list again": async (pair) => {
    const { headers, body } = await toStomp(pair, "golden.list", {
      body: rhea.message.sequence_section([1, "z", true]),
    } as Message);
    equal(headers["x-body-kind"], "list");
    const message = await toAmqp(pair, "golden.list2", body, {
      "content-length": String(body.length),
      "x-body-kind": "list",
      "content-type": "application/json",
    });
    const { code, content } = sectionOf(message);
    equal(code, SEQUENCE_SECTION, "a sequence");
    equal(JSON.stringify(content), '[1,"z",true]');
  },

  "topics are one tree: dots and wildcards": async ({ amqp, stomp }) => {
    const inbox = await stomp.subscribe("/topic/golden.t.*");
    const receiver = await amqp.receiver("golden.t.b", "topic");
    const sender = await amqp.sender("golden.t.a", "topic");
    await sender.deliver({ body: "from amqp" });
    const message = await inbox.next();
    equal(message.headers["destination"], "/topic/golden.t.a");
    equal(message.body.toString(), "from amqp");
    await stomp.send("/topic/golden.t.b", "from stomp");
    equal(textOf((await receiver.next()).message), "from stomp");
  },

  "STOMP asks, AMQP answers": async ({ amqp, stomp }) => {
    const service = await amqp.receiver("golden.service1");
    const replies = await stomp.subscribe("/temp-queue/r");
    const headers = { "reply-to": "/temp-queue/r", "correlation-id": "7" };
    await stomp.send("/queue/golden.service1", "?", headers);
    const { message, delivery } = await service.next();
    delivery.accept();
    const sender = await amqp.sender(String(message.reply_to), undefined);
    await sender.deliver({ body: "!", correlation_id: message.correlation_id } as Message);
    const reply = await replies.next();
    equal(reply.body.toString(), "!");
    equal(reply.headers["correlation-id"], "7");
  },

  "AMQP asks, STOMP answers": async ({ amqp, stomp }) => {
    const service = await stomp.subscribe("/queue/golden.service2");
    const replies = await amqp.receiver({ source: { dynamic: true } } as never);
    const sender = await amqp.sender("golden.service2");
    await sender.deliver({ body: "?", reply_to: replies.address, correlation_id: "7" });
    const request = await service.next();
    const correlation = request.headers["correlation-id"]!;
    await stomp.send(request.headers["reply-to"]!, "!", { "correlation-id": correlation });
    const { message } = await replies.next();
    equal(textOf(message), "!");
    equal(String(message.correlation_id), "7");
  },

  "a dead letter tells its history to both": async ({ amqp, stomp }) => {
    const inbox = await stomp.subscribe("/queue/golden.dead", { ack: "client-individual" });
    const sender = await amqp.sender("golden.dead");
    for (const body of ["one", "two"]) await sender.deliver({ body });
    for (const message of await inbox.take(2)) message.nack({ requeue: "false" });
    const dlq = await stomp.subscribe("/queue/DLQ.golden.dead", {
      ack: "client-individual",
      "prefetch-count": "1",
    });
    const dead = await dlq.next();
    equal(dead.headers["x-death-count"], "1");
    equal(dead.headers["x-first-death-queue"], "golden.dead");
    equal(dead.headers["x-first-death-reason"], "rejected");
    dead.ack();
    // What it got after that goes back.
    await dlq.unsubscribe();
    const { message } = await (await amqp.receiver("DLQ.golden.dead")).next();
    const deaths = message.message_annotations?.["x-opt-deaths"] as Array<Record<string, unknown>>;
    equal(String(deaths[0]?.["queue"]), "golden.dead");
    equal(String(deaths[0]?.["reason"]), "rejected");
    equal(Number(deaths[0]?.["count"]), 1);
  },

  "a selector over AMQP sees STOMP headers": async ({ amqp, stomp }) => {
    const receiver = await amqp.receiver({
      source: {
        address: "golden.selector",
        capabilities: ["queue"],
        filter: rhea.filter.selector("color = 'red'"),
      },
    } as never);
    await stomp.send("/queue/golden.selector", "no", { color: "blue" });
    await stomp.send("/queue/golden.selector", "yes", { color: "red" });
    equal(textOf((await receiver.next()).message), "yes");
    const rest = await stomp.subscribe("/queue/golden.selector", { selector: "color = 'blue'" });
    equal(await rest.texts(1), "no");
  },

  "a large body crosses": async (pair) => {
    const bytes = Buffer.alloc(3 * 1024 * 1024, "0123456789abcdef");
    const there = await toStomp(pair, "golden.large", {
      body: rhea.message.data_section(bytes),
    } as Message);
    truly(there.body.equals(bytes), "AMQP → STOMP");
    const back = await toAmqp(pair, "golden.large2", bytes, {
      "content-length": String(bytes.length),
    });
    truly(bytes.equals(sectionOf(back).content as Buffer), "STOMP → AMQP");
  },
};

export const goldenStomp: Step = {
  name: "golden-stomp",
  about: "STOMP and AMQP 1.0 through one broker, both ways",
  table: "STOMP ↔ AMQP 1.0",
  limitSeconds: 120,
  async run(context) {
    const endpoint = await context.broker();
    for (const [name, golden] of Object.entries(CASES)) {
      await context.check("stompit ↔ rhea", name, async () => {
        const amqp = await RheaPeer.connect(endpoint);
        const stomp = await Stompit.connect(endpoint);
        try {
          return await golden({ amqp, stomp, endpoint });
        } finally {
          stomp.drop();
          await amqp.close();
        }
      });
    }
  },
};
