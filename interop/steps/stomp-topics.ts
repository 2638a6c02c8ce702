/** STOMP checks on topics: fan-out, wildcards, tags, groups, durable subscriptions in the three dialects. */
import { equal } from "../harness/expect.ts";
import type { Headers } from "../harness/stomp-client.ts";
import type { StompChecks } from "./stomp-queues.ts";

export const TOPIC_CHECKS: StompChecks = {
  "topic-fanout": async ({ client, connect, prefix }) => {
    const topic = `/topic/${prefix}.fan`;
    const other = await connect();
    const inboxes = [await client.subscribe(topic), await other.subscribe(topic)];
    for (const text of ["one", "two", "three"]) await client.send(topic, text);
    for (const inbox of inboxes) equal(await inbox.texts(3), "one two three");
    for (const inbox of inboxes) await inbox.unsubscribe();
    await client.send(topic, "nobody");
    await (await client.subscribe(topic)).expectEmpty();
  },

  "topic-wildcard": async ({ client, prefix }) => {
    const one = await client.subscribe(`/topic/${prefix}.w.*.c`);
    const all = await client.subscribe(`/topic/${prefix}.w.>`);
    await client.send(`/topic/${prefix}.w.a.c`, "abc");
    await client.send(`/topic/${prefix}.w.a.d`, "abd");
    const first = await one.next();
    equal(first.headers["destination"], `/topic/${prefix}.w.a.c`, "destination");
    await one.expectEmpty();
    equal(await all.texts(2), "abc abd");
  },

  "topic-tag": async ({ client, prefix }) => {
    const inbox = await client.subscribe(`/topic/${prefix}-tags`, { tag: "paid || sent" });
    for (const tag of ["new", "paid", "sent"]) {
      await client.send(`/topic/${prefix}-tags`, tag, { tag });
    }
    equal(await inbox.texts(2), "paid sent");
    await inbox.expectEmpty();
  },

  "temporary-topic": async ({ client }) => {
    const a = await client.subscribe("/temp-topic/t", { id: "one" });
    const b = await client.subscribe("/temp-topic/t", { id: "two" });
    await client.send("/temp-topic/t", "hi");
    equal(await a.texts(1), "hi");
    equal(await b.texts(1), "hi");
  },

  shared: async ({ client, connect, prefix }) => {
    const topic = `/topic/${prefix}.shared`;
    const other = await connect();
    const a = await client.subscribe(topic, { group: "g" });
    const b = await other.subscribe(topic, { group: "g" });
    for (let n = 0; n < 20; n++) await client.send(topic, String(n));
    await client.settled();
    await other.settled();
    equal(a.count + b.count, 20, "messages over both members");
  },

  "no-local": async ({ connect, client, prefix }) => {
    const topic = `/topic/${prefix}.local`;
    const own = await connect({ clientId: `${prefix}-local` });
    const inbox = await own.subscribe(topic, { "no-local": "true" });
    await own.send(topic, "mine");
    await client.send(topic, "theirs");
    equal(await inbox.texts(1), "theirs");
    await inbox.expectEmpty();
  },

  durable: async ({ client, connect, prefix }) => {
    const dialects: ReadonlyArray<readonly [string, string | undefined, Headers]> = [
      ["activemq", `${prefix}-1`, { "activemq.subscriptionName": "s" }],
      ["artemis", `${prefix}-2`, { "durable-subscription-name": "s" }],
      ["rabbitmq", undefined, { durable: "true", "auto-delete": "false", id: "s" }],
    ];
    for (const [name, clientId, headers] of dialects) {
      const topic = `/topic/${prefix}.durable.${name}`;
      const options = clientId === undefined ? {} : { clientId };
      const first = await connect(options);
      await first.subscribe(topic, headers);
      await first.disconnect();
      await client.send(topic, "while away", { persistent: "true" });
      const second = await connect(options);
      const inbox = await second.subscribe(topic, headers);
      equal(await inbox.texts(1), "while away", name);
      await second.disconnect();
    }
  },

  unsubscribe: async ({ client, connect, prefix }) => {
    const topic = `/topic/${prefix}.unsubscribe`;
    const headers = { "durable-subscription-name": "s" };
    const options = { clientId: `${prefix}-u` };
    const first = await connect(options);
    const inbox = await first.subscribe(topic, headers);
    await inbox.unsubscribe(headers);
    await first.disconnect();
    await client.send(topic, "nobody");
    const second = await connect(options);
    await (await second.subscribe(topic, headers)).expectEmpty();
  },
};
