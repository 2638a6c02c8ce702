/**
 * Bounds that one protocol alone has, or that hold for a single connection: each with a real client that is refused or held
 * back in its protocol's words, and one that is not. What all protocols share is in access.ts.
 */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { WebSocket } from "ws";
import type { BrokerProcess, Endpoint } from "../harness/broker-process.ts";
import { equal, truly } from "../harness/expect.ts";
import { MqttPeer, type MqttVersion } from "../harness/mqtt-peer.ts";
import { scratchDir } from "../harness/paths.ts";
import { RheaPeer } from "../harness/rhea-peer.ts";
import type { Step, StepContext } from "../harness/step.ts";
import { Stompit } from "../harness/stompit-client.ts";
import { refused, VISITORS, type Visitor } from "../harness/visitor.ts";

export interface Bound {
  readonly name: string;
  /** The keys of the configuration that it tries. */
  readonly keys: readonly string[];
  readonly client: string;
  check(endpoint: Endpoint): Promise<unknown>;
}

const GUEST = { user: "guest", password: "guest" };

const SETTINGS = `
[limits]
sessionsPerConnectionMax = 2
linksPerSessionMax = 2
messageRate = 20
loginsPerAddressMax = 1
[security]
failureDelay = "300ms"
allowedOrigins = ["https://good.example"]
[stomp]
subscriptionsMax = 2
transactionsMax = 1
idleTimeout = "1s"
[mqtt]
queuedMax = 2
queueOverflow = "reject"
`;

/** In a row, so that each has ended before the next. */
async function withPeer<P extends { close(): Promise<void> }>(
  opening: Promise<P>,
  use: (peer: P) => Promise<unknown>,
): Promise<unknown> {
  const peer = await opening;
  try {
    return await use(peer);
  } finally {
    await peer.close().catch(() => undefined);
  }
}

function session(peer: RheaPeer, opened: () => void): void {
  const one = peer.connection.create_session();
  one.on("session_open", opened);
  one.begin();
}

const stompit = (endpoint: Endpoint) =>
  Stompit.connect(endpoint).then((client) => ({
    client,
    close: async () => client.drop(),
  }));

/** What waits for a client that is away: so many, and the next one is refused. */
function queued(version: MqttVersion, words: RegExp, name: string): Bound {
  return {
    name: "limit: what waits for one MQTT session",
    keys: ["mqtt.queuedMax", "mqtt.queueOverflow"],
    client: name,
    async check(endpoint) {
      const topic = `away/${version}`;
      const away = await MqttPeer.connect(endpoint, {
        version,
        clientId: `away-${version}`,
        clean: false,
        ...(version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {}),
      });
      await away.subscribe(topic, { qos: 1 });
      await away.end();
      const kind = VISITORS.find((one) => one.name === name)!;
      const open = (): Promise<Visitor> => kind.open(endpoint, GUEST);
      await withPeer(open(), async (sender) => {
        await sender.send("topic", topic, "1");
        await sender.send("topic", topic, "2");
        await refused(words, () => sender.send("topic", topic, "3"));
      });
      await withPeer(open(), (other) => other.send("topic", `${topic}/other`, "x"));
    },
  };
}

export const BOUNDS: readonly Bound[] = [
  {
    name: "limit: AMQP sessions of a connection",
    keys: ["limits.sessionsPerConnectionMax"],
    client: "rhea",
    check: (endpoint) =>
      withPeer(RheaPeer.connect(endpoint), async (peer) => {
        const two = () =>
          peer.until<void>("two sessions", 10_000, (resolve) => {
            session(peer, () => session(peer, resolve));
          });
        await two();
        await refused(/amqp:connection:framing-error|amqp:resource-limit-exceeded|channel/i, () =>
          peer.until<void>("a third", 10_000, (resolve) => session(peer, resolve)),
        );
      }),
  },
  {
    name: "limit: AMQP links of a session",
    keys: ["limits.linksPerSessionMax"],
    client: "rhea",
    check: (endpoint) =>
      withPeer(RheaPeer.connect(endpoint), async (peer) => {
        await peer.sender("a link");
        await peer.sender("another");
        await refused(/amqp:resource-limit-exceeded|handle/i, () => peer.sender("a third"));
      }),
  },
  {
    name: "limit: STOMP subscriptions of a connection",
    keys: ["stomp.subscriptionsMax"],
    client: "stompit",
    check: (endpoint) =>
      withPeer(stompit(endpoint), async ({ client }) => {
        await client.subscribe("/queue/one");
        await client.subscribe("/queue/two");
        const failure = client.failure();
        void client.subscribe("/queue/three").catch(() => undefined);
        truly(/limit exceeded|too many/i.test(await failure), "the third is refused");
      }),
  },
  {
    name: "limit: STOMP transactions of a connection",
    keys: ["stomp.transactionsMax"],
    client: "stompit",
    check: (endpoint) =>
      withPeer(stompit(endpoint), async ({ client }) => {
        await client.begin().commit();
        client.begin();
        const failure = client.failure();
        client.begin();
        const text = await failure;
        truly(/limit exceeded|too many|transaction/i.test(text), text);
      }),
  },
  queued(5, /quota exceeded/i, "MQTT.js 5"),
  queued(4, /connection closed/, "MQTT.js 3.1.1"),
  {
    name: "limit: a payload that is not the text it claims to be",
    keys: ["mqtt.checkPayloadFormat"],
    client: "MQTT.js 5",
    async check(endpoint) {
      const peer = await MqttPeer.connect(endpoint, { version: 5 });
      const claims = { qos: 1 as const, properties: { payloadFormatIndicator: true } };
      await peer.publish("text", Buffer.from("text"), claims);
      await refused(/payload format/i, () => peer.publish("text", Buffer.from([0xff]), claims));
      await peer.end();
    },
  },
  {
    name: "browsers: pages of other origins open no WebSocket",
    keys: ["security.allowedOrigins"],
    client: "HTTP",
    async check(endpoint) {
      equal(await upgrade(endpoint, undefined), 101, "a program");
      equal(await upgrade(endpoint, "http://localhost:3000"), 101, "a page of this machine");
      equal(await upgrade(endpoint, "https://good.example"), 101, "a page that is allowed");
      for (const origin of ["https://evil.example", `http://rebound.example:${endpoint.port}`]) {
        equal(await upgrade(endpoint, origin, new URL(origin).host), 403, origin);
      }
    },
  },
  {
    name: "browsers: the admin API answers to the name of this machine, and changes nothing for a form",
    keys: ["security.loopback"],
    client: "HTTP",
    async check({ host, port }) {
      const { request } = await import("node:http");
      const ask = (method: string, path: string, headers: Record<string, string>) =>
        new Promise<number>((resolve, reject) => {
          request({ host, port, method, path, headers }, (response) => {
            response.resume();
            resolve(response.statusCode ?? 0);
          })
            .on("error", reject)
            .end();
        });
      equal(await ask("GET", "/api/overview", { host: "localhost" }), 200, "by its name");
      equal(await ask("GET", "/api/overview", { host: "rebound.example" }), 403, "by another");
      equal(await ask("POST", "/api/reload", { "content-type": "text/plain" }), 415, "a form");
      equal(await ask("GET", "/healthz", { "x-long": "x".repeat(20_000) }), 431, "a long header");
    },
  },
  ...VISITORS.map(
    (kind): Bound => ({
      name: "rate of one connection: the sender waits and is not refused",
      keys: ["limits.messageRate", "limits.byteRate"],
      client: kind.name,
      async check(endpoint) {
        const bodies = Array.from({ length: 40 }, () => "x");
        const visitor = await kind.open(endpoint, GUEST);
        const began = performance.now();
        await visitor.sendMany(kind.kinds[0]!, "paced", bodies);
        const ms = performance.now() - began;
        await visitor.close();
        truly(ms >= 700, `${Math.round(ms)} ms are at least 700`);
        return `${Math.round(ms)} ms`;
      },
    }),
  ),
  ...VISITORS.map(
    (kind): Bound => ({
      name: "limit: logins of one address at a time",
      keys: ["limits.loginsPerAddressMax", "security.failureDelay"],
      client: kind.name,
      async check(endpoint) {
        const guess = (n: number) => kind.open(endpoint, { user: "guest", password: `guess ${n}` });
        const began = performance.now();
        const guesses = [1, 2, 3].map((n) => refused(kind.words.login, () => guess(n)));
        const visitor = await kind.open(endpoint, GUEST);
        await Promise.all(guesses);
        const ms = performance.now() - began;
        await visitor.close();
        truly(ms >= 890, `three refusals, one at a time: ${Math.round(ms)} ms`);
        return `${Math.round(ms)} ms`;
      },
    }),
  ),
];

/** The status that a WebSocket request of this origin gets. */
function upgrade({ host, port }: Endpoint, origin?: string, name?: string): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://${host}:${port}/mqtt`, "mqtt", {
      ...(origin === undefined ? {} : { origin }),
      ...(name === undefined ? {} : { headers: { host: name } }),
    });
    socket.on("open", () => {
      resolve(101);
      socket.close();
    });
    socket.on("error", () => undefined);
    socket.on("unexpected-response", (_request, response) => {
      resolve(response.statusCode ?? 0);
      socket.terminate();
    });
  });
}

async function checkAll(context: StepContext, endpoint: Endpoint): Promise<void> {
  for (const bound of BOUNDS) {
    await context.check(bound.client, bound.name, () => bound.check({ ...endpoint, ...GUEST }));
  }
}

export const accessBounds: Step = {
  name: "access-bounds",
  about: "bounds of single connections and of one protocol alone: refused or held back, and not",
  table: "Access",
  limitSeconds: 300,
  ownBrokerOnly: true,
  async run(context) {
    const folder = scratchDir("access-bounds");
    try {
      const file = join(folder, "sluice.toml");
      writeFileSync(file, SETTINGS);
      const broker: BrokerProcess = await context.ownBroker({ args: ["--config", file] });
      await checkAll(context, broker);
      await broker.stop();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};
