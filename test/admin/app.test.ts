import test, { type ExecutionContext } from "ava";
import { makeAddress } from "../../src/model/address.ts";
import { Draft } from "../../src/model/draft.ts";
import type { UserStore } from "../../src/security/users.ts";
import { makeUser } from "../../src/security/users-file.ts";
import { openTestAdmin, REMOTE } from "../support/admin.ts";
import { connect } from "../support/test-client.ts";

type Admin = Awaited<ReturnType<typeof openTestAdmin>>;

async function opened(t: ExecutionContext, options: Parameters<typeof openTestAdmin>[0] = {}) {
  const admin = await openTestAdmin(options);
  t.teardown(() => admin.close());
  return admin;
}

function publish({ broker }: Admin, queue: string, ...bodies: string[]) {
  const connection = connect(broker, "c1", { remoteAddress: "192.0.2.1", remotePort: 99 });
  const target = connection.openTarget(makeAddress("queue", queue));
  for (const body of bodies) {
    const draft = new Draft().reset();
    draft.bytes = Buffer.from(body);
    draft.end = draft.bytes.length;
    draft.keys = body;
    target.publish(draft);
  }
  return connection;
}

const users = (async (): Promise<UserStore> => {
  const all = [
    await makeUser("root", "pw", ["* *"]),
    await makeUser("ann", "pw", ["send,receive *"]),
  ];
  return { size: 2, generation: 1, find: (name) => all.find((user) => user.name === name) };
})();
const basic = (user: string, password: string) => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`,
});

const FOREIGN = { "content-type": "application/json", host: "evil.example" };

test("queues, their messages, connections and consumers can be looked at", async (t) => {
  const admin = await opened(t);
  publish(admin, "orders/eu", "one", "two");
  const overview = await admin.get("/api/overview");
  t.like(overview.json, { connections: 1, queues: 1, counters: { published: 2 } });
  const [queue] = (await admin.get("/api/queues")).json;
  t.like(queue, { name: "orders/eu", backlog: 2, producers: 1 });
  const name = encodeURIComponent("orders/eu");
  t.is((await admin.get(`/api/queues/${name}`)).json.groups.length, 1);
  t.like((await admin.get("/api/connections")).json[0], { clientId: "c1", remote: "192.0.2.1:99" });
  t.deepEqual((await admin.get("/api/consumers")).json, []);
  const more = [1, 2, 3, 4].map((n) => connect(admin.broker, `more-${n}`));
  const seen: string[] = [];
  for (let next: string | undefined = "/api/connections?max=2"; next !== undefined; ) {
    const page = await admin.get(next);
    for (const { clientId } of page.json) seen.push(clientId);
    next = /<([^>]*)>; rel="next"/.exec(page.headers.get("link") ?? "")?.[1];
  }
  t.deepEqual(seen, ["c1", "more-1", "more-2", "more-3", "more-4"]);
  for (const one of more) one.close();
  const messages = (await admin.get(`/api/queues/${name}/messages`)).json;
  t.deepEqual(
    messages.map((m: { bodyBase64: string }) => Buffer.from(m.bodyBase64, "base64").toString()),
    ["one", "two"],
  );
  const at = async (query: string) => await admin.get(`/api/queues/${name}/messages?${query}`);
  t.is((await at("offset=1")).json[0].offset, 1);
  t.is((await at("from=1")).json.length, 1);
  t.is((await at("max=1")).json.length, 1);
  t.deepEqual((await at("key=nothing")).json, []);
});

test("what is not there is 404, what makes no sense is 400", async (t) => {
  const admin = await opened(t);
  publish(admin, "q", "one");
  t.is((await admin.get("/api/queues/nope")).status, 404);
  t.is((await admin.get("/api/topics/q")).status, 404);
  t.is((await admin.get("/api/queues/q?namespace=other")).status, 404);
  t.is((await admin.get("/api/queues/q/messages?offset=7")).status, 404);
  t.is((await admin.get("/api/queues/q/messages?offset=-1")).status, 400);
  t.is((await admin.get("/api/queues/q/messages?from=x")).status, 400);
  t.is((await admin.get("/elsewhere")).status, 404);
});

test("behind an open loopback only pages of this machine are answered", async (t) => {
  const admin = await opened(t);
  t.is((await admin.get("/api/overview")).status, 200);
  t.is((await admin.get("/api/overview", undefined, { host: "evil.example" })).status, 403);
  t.is((await admin.get("/api/overview", undefined, { host: "[::1]:15672" })).status, 200);
  t.is((await admin.get("/api/overview", REMOTE)).status, 401);
  t.is((await admin.get("/api/overview", REMOTE, basic("guest", "guest"))).status, 401);
});

test("users need the right admin", async (t) => {
  const admin = await opened(t, { users: await users });
  const nobody = await admin.get("/metrics");
  t.is(nobody.status, 401);
  t.regex(nobody.headers.get("www-authenticate") ?? "", /^Basic/);
  t.is((await admin.get("/metrics", REMOTE, basic("root", "pw"))).status, 200);
  t.is((await admin.get("/metrics", REMOTE, basic("root", "no"))).status, 401);
  const ann = await admin.get("/api/queues", REMOTE, basic("ann", "pw"));
  t.is(ann.status, 403);
  t.regex(ann.json.error, /sluice grant ann "admin \*"/);
});

test("the token of this start is for this machine", async (t) => {
  const admin = await opened(t, { users: await users });
  const token = { authorization: "Bearer token-of-this-start" };
  t.is((await admin.get("/api/queues", undefined, token)).status, 200);
  t.is((await admin.get("/api/queues", REMOTE, token)).status, 401);
  t.is((await admin.get("/api/queues", undefined, { authorization: "Bearer x" })).status, 401);
});

test("health needs no login; readiness follows the store and the stop", async (t) => {
  const admin = await opened(t, { users: await users });
  t.is((await admin.get("/healthz", REMOTE)).status, 200);
  t.is((await admin.get("/readyz", REMOTE)).status, 200);
  const stopping = await opened(t, { sources: { isReady: () => false } });
  t.is((await stopping.get("/readyz")).status, 503);
  t.is((await stopping.get("/healthz")).status, 200);
});

test("a name as long as it may be makes no label as long, and nothing in it ends one", async (t) => {
  const admin = await opened(t);
  const long = `root${"x".repeat(300)}`;
  publish(admin, `${'quote"back\\slash{}'}`, "1");
  const target = connect(admin.broker).openTarget(makeAddress("topic", long));
  target.close();
  const text = await (await admin.get("/metrics")).text;
  t.regex(text, /name="quote\\"back\\\\slash\{\}"\} 1$/m);
  t.regex(text, /name="rootx{196}…[\w-]{12}"\}/);
  for (const line of text.split("\n")) t.true(line.length < 500, line.slice(0, 80));
  t.regex(text, /^sluice_dropped_total\{reason="no_reader"\} 0$/m);
  t.regex(text, /^sluice_refused_total\{reason="unauthorized"\} 0$/m);
});

test("metrics are Prometheus text, and the number of series is bounded", async (t) => {
  const admin = await opened(t, { settings: ["metrics.destinationsMax=2"] });
  publish(admin, "busy", "1", "2", "3");
  publish(admin, "also", "1", "2");
  publish(admin, "rare", "1");
  publish(admin, "rarer", "1");
  const { text, headers } = await admin.get("/metrics");
  t.regex(headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  const published = text
    .split("\n")
    .filter((line) => line.startsWith("sluice_destination_published_total"));
  t.deepEqual(published, [
    'sluice_destination_published_total{kind="queue",namespace="/",name="busy"} 3',
    'sluice_destination_published_total{kind="queue",namespace="/",name="also"} 2',
    'sluice_destination_published_total{kind="queue",namespace="",name="other"} 2',
  ]);
  t.regex(text, /# TYPE sluice_destination_published_total counter/);
  t.regex(text, /^sluice_connections\{protocol="test"\} 4$/m);
  t.regex(text, /^sluice_received_bytes_total 11$/m);
  const again = (await admin.get("/metrics")).text;
  t.regex(again, /name="busy"\} 3/);
});

test("a queue is purged, its messages moved, itself deleted; each only by JSON and by an admin", async (t) => {
  const admin = await opened(t);
  const connection = publish(admin, "q", "1", "2", "3");
  t.is((await admin.send("POST", "/api/queues/q/purge", undefined, {})).status, 415);
  t.is((await admin.send("POST", "/api/queues/q/purge", REMOTE)).status, 401);
  t.is((await admin.send("POST", "/api/queues/q/purge", undefined, FOREIGN)).status, 403);
  t.deepEqual((await admin.send("POST", "/api/queues/q/move?to=r&max=1")).json, { moved: 1 });
  t.is((await admin.get("/api/queues/r")).json.ready, 1);
  t.is((await admin.send("POST", "/api/queues/q/move?max=x")).status, 400);
  t.is((await admin.send("DELETE", "/api/queues/q?ifEmpty=true")).status, 400);
  t.deepEqual((await admin.send("POST", "/api/queues/q/purge")).json, { purged: 2 });
  connection.close();
  t.is((await admin.send("DELETE", "/api/queues/q?ifEmpty=true")).status, 200);
  t.is((await admin.get("/api/queues/q")).status, 404);
  t.is((await admin.send("DELETE", "/api/queues/q")).status, 404);
});

test("a connection is closed on request", async (t) => {
  const admin = await opened(t);
  let reason = "";
  const { id } = connect(admin.broker, "", {
    close: (error) => {
      reason = error.message;
    },
  });
  t.is((await admin.send("DELETE", "/api/connections/4711")).status, 404);
  t.is((await admin.send("DELETE", `/api/connections/${id}`)).status, 200);
  t.is(reason, "closed by an operator");
});

test("messages that wait are listed, looked up and taken back; the log has who did it", async (t) => {
  const admin = await opened(t);
  const connection = publish(admin, "orders");
  const target = connection.openTarget(makeAddress("queue", "orders"));
  for (let n = 0; n < 4; n++) {
    const draft = new Draft().reset();
    draft.deliverAt = Date.now() + 86_400_000;
    target.publish(draft);
  }
  t.is((await admin.get("/api/overview")).json.delayed, 4);
  const { json } = await admin.get("/api/delayed?queue=orders&max=3");
  t.deepEqual([json.waiting, json.messages.length, json.next], [4, 3, 3]);
  t.is((await admin.get("/api/delayed?queue=orders&from=3")).json.messages[0].number, 3);
  t.is((await admin.get("/api/delayed?topic=orders")).json.messages.length, 0);
  t.is((await admin.get("/api/delayed/2")).json.name, "orders");
  t.is((await admin.get("/api/delayed/9")).status, 404);
  t.is((await admin.get("/api/delayed?queue=a&topic=b")).status, 400);
  t.is((await admin.send("DELETE", "/api/delayed")).status, 400, "something has to be named");
  t.deepEqual((await admin.send("DELETE", "/api/delayed/2")).json, { cancelled: 1 });
  t.is((await admin.send("DELETE", "/api/delayed/2")).status, 404);
  t.deepEqual((await admin.send("DELETE", "/api/delayed?queue=orders")).json, { cancelled: 3 });
  t.regex((await admin.get("/metrics")).text, /^sluice_delayed_messages 0$/m);
});

test("quotas are shown with what is used of them, refusals are counted", async (t) => {
  const admin = await opened(t);
  admin.broker.quotas.replace({
    connection: { messageRate: 0, byteRate: 0 },
    users: [{ name: "*", connections: 1, messageRate: 5, byteRate: 0 }],
    namespaces: [],
  });
  publish(admin, "q", "one");
  t.throws(() => publish(admin, "q", "two"));
  t.deepEqual((await admin.get("/api/quotas")).json, [
    { of: "user", name: "anonymous", connections: 1, connectionsMax: 1 },
  ]);
  const { text } = await admin.get("/metrics");
  t.regex(text, /^sluice_quota_refusals_total\{quota="connections"\} 1$/m);
  t.regex(text, /^sluice_connections_held_back 0$/m);
});
