/** STOMP checks on queues, for whichever JavaScript client: delivery, settlement, transactions, replies, refusals. */
import { type Endpoint, sleep } from "../harness/broker-process.ts";
import type { CapabilityKey } from "../harness/capabilities.ts";
import { equal, truly } from "../harness/expect.ts";
import type { ConnectOptions, Received, StompClient } from "../harness/stomp-client.ts";

export type Connect = (options?: ConnectOptions) => Promise<StompClient>;
export interface StompCheckContext {
  readonly client: StompClient;
  readonly connect: Connect;
  readonly endpoint: Endpoint;
  readonly version: string;
  /** Unlike for each client and version: names of destinations begin with it. */
  readonly prefix: string;
}
export type StompCheck = (context: StompCheckContext) => Promise<unknown>;
export type StompChecks = Partial<Record<CapabilityKey, StompCheck>>;

const INDIVIDUAL = { ack: "client-individual" };
const CLIENT = { ack: "client" };
const MIB = 1024 * 1024;

const body = (message: Received): string => message.body.toString();
const numbered = (count: number): string[] => Array.from({ length: count }, (_, n) => `m${n}`);

export const QUEUE_CHECKS: StompChecks = {
  "send-receive": async ({ client, prefix }) => {
    const inbox = await client.subscribe(`/queue/${prefix}.basic`);
    await client.send(`/queue/${prefix}.basic`, "hello");
    const message = await inbox.next();
    equal(body(message), "hello");
    equal(message.headers["destination"], `/queue/${prefix}.basic`);
    await inbox.expectEmpty();
  },

  order: async ({ client, prefix }) => {
    const queue = `/queue/${prefix}.order`;
    const inbox = await client.subscribe(queue, INDIVIDUAL);
    const sent = numbered(1000).map((text) => client.send(queue, text));
    const got: string[] = [];
    while (got.length < 1000) {
      const message = await inbox.next();
      got.push(body(message));
      message.ack();
    }
    await Promise.all(sent.slice(-1));
    equal(got.join(), numbered(1000).join(), "messages in order");
    await inbox.expectEmpty();
  },

  bodies: async ({ client, prefix }) => {
    const queue = `/queue/${prefix}.bodies`;
    const inbox = await client.subscribe(queue);
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
    for (const sent of ["", "plain", "grüße 日本 😀", "a\r\nb\n\n", bytes, Buffer.alloc(1)]) {
      const headers = typeof sent === "string" ? {} : { "content-length": String(sent.length) };
      await client.send(queue, sent, headers);
      const wanted = Buffer.from(sent as string);
      truly((await inbox.next()).body.equals(wanted), `body ${JSON.stringify(sent.toString())}`);
    }
  },

  properties: async ({ client, prefix, version }) => {
    const queue = `/queue/${prefix}.properties`;
    const inbox = await client.subscribe(queue);
    const expires = String(Date.now() + 60_000);
    // @stomp/stompjs escapes nothing in 1.1 and reads a backslash before "c" as a colon; 1.0 has no escapes at all.
    const special = version === "1.2" ? "a:b\\d\ne\r" : "a b";
    const headers = {
      "content-type": "text/plain",
      "correlation-id": "c-1",
      type: "T",
      priority: "7",
      expires,
      persistent: "true",
      "x-note": special,
      grün: "ja",
      empty: "",
    };
    await client.send(queue, "x", headers);
    const message = await inbox.next();
    for (const [name, value] of Object.entries(headers)) {
      equal(message.headers[name], value, `header ${name}`);
    }
    truly(Number(message.headers["timestamp"]) > 1e12, "a timestamp");
  },

  large: async ({ client, prefix }) => {
    const queue = `/queue/${prefix}.large`;
    const inbox = await client.subscribe(queue, CLIENT);
    const bytes = Buffer.alloc(8 * MIB, "0123456789abcdef\0");
    await client.send(queue, bytes, { "content-length": String(bytes.length) });
    const message = await inbox.next(20_000);
    truly(message.body.equals(bytes), "8 MiB are the same");
    message.ack();
    await client.settled();
  },

  "async-send": async ({ client, prefix }) => {
    const queue = `/queue/${prefix}.async`;
    const sent = numbered(500).map((text) => client.send(queue, text));
    await Promise.all(sent);
    const inbox = await client.subscribe(queue);
    equal(await inbox.texts(500), numbered(500).join(" "));
  },

  receipts: async ({ client, connect, prefix }) => {
    const queue = `/queue/${prefix}.receipts`;
    await client.send(queue, "one");
    const inbox = await client.subscribe(queue, INDIVIDUAL);
    (await inbox.next()).ack();
    await client.settled();
    await client.disconnect();
    const other = await connect();
    await (await other.subscribe(queue)).expectEmpty();
  },

  acknowledge: async ({ client, connect, prefix }) => {
    for (const [mode, left] of [
      ["client-individual", "m0 m2"],
      ["client", "m2"],
    ]) {
      const queue = `/queue/${prefix}.${mode}`;
      const reader = await connect();
      for (const text of numbered(3)) await client.send(queue, text);
      const inbox = await reader.subscribe(queue, { ack: mode! });
      (await inbox.take(3))[1]!.ack();
      await reader.settled();
      await reader.disconnect();
      const rest = await client.subscribe(queue);
      equal(await rest.texts(left!.split(" ").length), left, `left after ack:${mode}`);
      await rest.expectEmpty();
    }
  },

  redelivery: async ({ client, connect, prefix }) => {
    const queue = `/queue/${prefix}.redelivery`;
    const reader = await connect();
    const inbox = await reader.subscribe(queue, CLIENT);
    for (const text of numbered(3)) await client.send(queue, text);
    equal((await inbox.next()).headers["redelivered"], undefined, "redelivered at first");
    await inbox.take(2);
    await reader.disconnect();
    const again = await client.subscribe(queue, CLIENT);
    const messages = await again.take(3);
    equal(messages.map(body).join(" "), "m0 m1 m2");
    equal(messages[0]!.headers["redelivered"], "true", "redelivered");
    messages[2]!.ack();
    await client.settled();
  },

  "delivery-count": async ({ client, prefix, version }) => {
    if (version === "1.0") return "1.0 has no NACK";
    const queue = `/queue/${prefix}.count`;
    await client.send(queue, "x");
    const inbox = await client.subscribe(queue, INDIVIDUAL);
    for (const count of [undefined, "1", "2"]) {
      const message = await inbox.next();
      equal(message.headers["x-delivery-count"], count, "x-delivery-count");
      if (count === "2") message.ack();
      else message.nack();
    }
    await client.settled();
    return undefined;
  },

  reject: async ({ client, prefix, version }) => {
    if (version === "1.0") return "1.0 has no NACK";
    const queue = `${prefix}.reject`;
    await client.send(`/queue/${queue}`, "bad");
    const inbox = await client.subscribe(`/queue/${queue}`, INDIVIDUAL);
    (await inbox.next()).nack({ requeue: "false" });
    const dead = await (await client.subscribe(`/queue/DLQ.${queue}`)).next();
    equal(body(dead), "bad");
    equal(dead.headers["x-first-death-queue"], queue);
    equal(dead.headers["x-first-death-reason"], "rejected");
    return undefined;
  },

  "prefetch-0": async ({ client, prefix }) => {
    const queue = `/queue/${prefix}.prefetch`;
    for (const text of numbered(3)) await client.send(queue, text);
    const inbox = await client.subscribe(queue, { ...INDIVIDUAL, "prefetch-count": "1" });
    for (const text of numbered(3)) {
      const message = await inbox.next();
      equal(body(message), text);
      await inbox.expectEmpty(60);
      message.ack();
    }
  },

  "concurrent-consumers": async ({ client, connect, prefix }) => {
    const queue = `/queue/${prefix}.share`;
    const members = [await connect(), await connect()];
    const inboxes = await Promise.all(
      members.map((member) => member.subscribe(queue, { ...INDIVIDUAL, "prefetch-count": "1" })),
    );
    for (const text of numbered(20)) await client.send(queue, text);
    const got: string[] = [];
    while (got.length < 20) {
      for (const inbox of inboxes) {
        if (inbox.count === 0) continue;
        const message = await inbox.next();
        got.push(body(message));
        message.ack();
      }
      await sleep(2);
    }
    equal(new Set(got).size, 20, "each once");
  },

  browse: async ({ client, prefix }) => {
    const queue = `/queue/${prefix}.browse`;
    for (const text of numbered(3)) await client.send(queue, text);
    const browser = await client.subscribe(queue, { browser: "true" });
    equal(await browser.texts(3), "m0 m1 m2");
    equal((await browser.next()).headers["browser"], "end", "browser");
    const inbox = await client.subscribe(queue);
    equal(await inbox.texts(3), "m0 m1 m2");
  },

  "request-reply": async ({ client, connect, prefix }) => {
    const service = `/queue/${prefix}.service`;
    const server = await connect();
    const requests = await server.subscribe(service);
    const subscribed = await client.subscribe("/temp-queue/a");
    const implicit = client.expect("/temp-queue/b");
    for (const [name, inbox] of [
      ["a", subscribed],
      ["b", implicit],
    ] as const) {
      const headers = { "reply-to": `/temp-queue/${name}`, "correlation-id": name };
      await client.send(service, "?", headers);
      const request = await requests.next();
      const correlation = request.headers["correlation-id"]!;
      await server.send(request.headers["reply-to"]!, "!", { "correlation-id": correlation });
      const reply = await inbox.next();
      equal(body(reply), "!");
      equal(reply.headers["correlation-id"], name);
    }
  },

  ttl: async ({ client, prefix }) => {
    const queue = `/queue/${prefix}.ttl`;
    await client.send(queue, "old", { expires: String(Date.now() + 150) });
    await client.send(queue, "older", { expiration: "100" });
    await client.send(queue, "stays");
    await sleep(300);
    const inbox = await client.subscribe(queue);
    equal(await inbox.texts(1), "stays");
    await inbox.expectEmpty();
  },

  delay: async ({ client, prefix }) => {
    const queue = `/queue/${prefix}.delay`;
    const inbox = await client.subscribe(queue);
    const sent = Date.now();
    await client.send(queue, "later", { AMQ_SCHEDULED_DELAY: "400" });
    await client.send(queue, "now");
    equal(await inbox.texts(2), "now later");
    truly(Date.now() - sent >= 395, "after its delay");
  },

  priority: async ({ client, prefix }) => {
    const queue = `/queue/${prefix}.priority`;
    for (const priority of ["1", "9", "4"]) await client.send(queue, priority, { priority });
    const inbox = await client.subscribe(queue, { ...CLIENT, "prefetch-count": "10" });
    equal(await inbox.texts(3), "9 4 1");
  },

  selector: async ({ client, prefix }) => {
    const queue = `/queue/${prefix}.selector`;
    const inbox = await client.subscribe(queue, { selector: "color = 'red' AND size > 9" });
    for (const [color, size] of [
      ["red", "10"],
      ["red", "9"],
      ["blue", "11"],
    ]) {
      await client.send(queue, `${color}${size}`, { color: color!, size: size! });
    }
    equal(await inbox.texts(1), "red10");
    await inbox.expectEmpty();
    const rest = await client.subscribe(queue);
    equal(await rest.texts(2), "red9 blue11");
  },

  transactions: async ({ client, prefix }) => {
    const queue = `/queue/${prefix}.tx`;
    const inbox = await client.subscribe(queue);
    for (const end of ["abort", "commit"] as const) {
      const transaction = client.begin();
      const headers = { transaction: transaction.id };
      await client.send(queue, `${end}1`, headers);
      await client.send(queue, `${end}2`, headers);
      await inbox.expectEmpty(80);
      await transaction[end]();
    }
    equal(await inbox.texts(2), "commit1 commit2");
    await inbox.expectEmpty();
  },

  "transactions-receive": async ({ client, connect, prefix }) => {
    const queue = `/queue/${prefix}.txr`;
    await client.send(queue, "x");
    const reader = await connect();
    const inbox = await reader.subscribe(queue, INDIVIDUAL);
    const first = reader.begin();
    (await inbox.next()).ack({ transaction: first.id });
    await first.abort();
    const again = await inbox.next();
    equal(again.headers["redelivered"], "true", "redelivered after ABORT");
    const second = reader.begin();
    again.ack({ transaction: second.id });
    await reader.send(`${queue}.out`, "y", { transaction: second.id });
    await second.commit();
    await reader.disconnect();
    await (await client.subscribe(queue)).expectEmpty();
    equal(await (await client.subscribe(`${queue}.out`)).texts(1), "y");
  },

  refusals: async ({ client, connect, prefix }) => {
    const refused = connect({ password: "wrong" });
    await refused.then(
      () => truly(false, "a wrong password is refused"),
      (error: Error) => truly(/Bad CONNECT/.test(error.message), `Bad CONNECT: ${error.message}`),
    );
    const bad = await connect();
    const failure = bad.failure();
    const wrong = bad.send(`/queue/${prefix}.refused`, "x", { transaction: "nobody" });
    wrong.catch(() => undefined);
    truly(/Invalid transaction id/.test(await failure), "an unknown transaction is refused");
    await client.send(`/queue/${prefix}.fine`, "others go on");
  },

  "slow-neighbour": async ({ client, connect, prefix }) => {
    const slow = await connect();
    const queue = `/queue/${prefix}.slow`;
    const stuck = await slow.subscribe(queue, { ...CLIENT, "prefetch-count": "5" });
    const busy = await client.subscribe(queue, INDIVIDUAL);
    for (const text of numbered(100)) await client.send(queue, text);
    for (let n = 0; n < 95; n++) (await busy.next()).ack();
    equal(stuck.count, 5, "the stuck one holds its five");
  },

  "connection-loss": async ({ client, connect, prefix }) => {
    const queue = `/queue/${prefix}.loss`;
    const reader = await connect();
    const inbox = await reader.subscribe(queue, CLIENT);
    await client.send(queue, "x");
    await inbox.next();
    reader.drop();
    equal(await (await client.subscribe(queue)).texts(1), "x");
  },

  heartbeat: async ({ connect, prefix, version }) => {
    if (version === "1.0") return "1.0 has no heart-beats";
    const idle = await connect({ heartbeatMs: 1000 });
    await sleep(4000);
    const inbox = await idle.subscribe(`/queue/${prefix}.idle`);
    await idle.send(`/queue/${prefix}.idle`, "still here");
    equal(await inbox.texts(1), "still here");
    return undefined;
  },
};
