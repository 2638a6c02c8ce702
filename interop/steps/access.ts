/**
 * Who may do what, and how much of it: every access rule, quota and limit with a real client that is refused in its
 * protocol's own words, and one that is not. The words are in harness/visitor.ts.
 */
import { rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import type { Endpoint } from "../harness/broker-process.ts";
import { equal, truly } from "../harness/expect.ts";
import { MqttPeer } from "../harness/mqtt-peer.ts";
import { ROOT, scratchDir } from "../harness/paths.ts";
import { runOrThrow } from "../harness/process.ts";
import { RheaPeer } from "../harness/rhea-peer.ts";
import type { Step, StepContext } from "../harness/step.ts";
import {
  type Login,
  refused,
  VISITORS,
  type Visitor,
  type VisitorKind,
} from "../harness/visitor.ts";
import { checkTaken } from "./access-taken.ts";

const PASSWORD = "correct horse";

/** What each user may do; without rules everything with messages. */
const USERS: Readonly<Record<string, { allow?: readonly string[]; deny?: readonly string[] }>> = {
  maker: {},
  boss: { allow: ["* *"] },
  sender: { allow: ["send *:room"] },
  reader: { allow: ["receive *:room", "receive topic:news/#"] },
  viewer: { allow: ["browse *:room"] },
  settled: { allow: ["send,receive *:#"] },
  barred: { allow: ["create,send,receive *:#"], deny: ["send,receive *:secret/#"] },
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the rule itself says ${user}
  own: { allow: ["create,send,receive *:home/${user}/#"] },
  guarded: { allow: ["create,receive temp-queue:#"] },
  few: {},
  slow: {},
  thin: {},
};

const login = (user: string, namespace?: string): Login => ({
  user,
  password: PASSWORD,
  ...(namespace === undefined ? {} : { namespace }),
});

async function makeUsers(file: string): Promise<void> {
  for (const [name, { allow = [], deny = [] }] of Object.entries(USERS)) {
    const rules = [
      ...allow.flatMap((rule) => ["--allow", rule]),
      ...deny.flatMap((rule) => ["--deny", rule]),
    ];
    const command = ["user", "add", name, "--password-stdin", "--set", `security.users=${file}`];
    await runOrThrow(process.execPath, [join(ROOT, "dist/src/main.js"), ...command, ...rules], {
      limitMs: 30_000,
      input: PASSWORD,
    });
  }
}

/** Clients of one check; all are closed when it ends. */
class Scene {
  readonly kind: VisitorKind;
  readonly endpoint: Endpoint;
  readonly #open: Visitor[] = [];

  constructor(kind: VisitorKind, endpoint: Endpoint) {
    this.kind = kind;
    this.endpoint = endpoint;
  }

  async as(user: string, namespace?: string): Promise<Visitor> {
    return this.with(login(user, namespace));
  }
  async with(who: Login): Promise<Visitor> {
    const visitor = await this.kind.open(this.endpoint, who);
    this.#open.push(visitor);
    return visitor;
  }

  /** Refused in the words for it. STOMP ends the connection with the ERROR, so each attempt has its own. */
  async denies(
    user: string,
    attempt: (visitor: Visitor) => Promise<unknown>,
    words: RegExp = this.kind.words.denied,
    namespace?: string,
  ): Promise<void> {
    const visitor = await this.as(user, namespace);
    await refused(words, () => attempt(visitor));
  }

  async close(): Promise<void> {
    for (const visitor of this.#open.splice(0)) await visitor.close().catch(() => undefined);
  }
}

type Check = (scene: Scene) => Promise<unknown>;
interface Row {
  readonly name: string;
  readonly check: Check;
  /** Needs queues, so it is not for MQTT. */
  readonly isForQueues?: boolean;
  /** Of one client alone. */
  readonly only?: string;
}

const RULES: readonly Row[] = [
  {
    name: "login: the right password, and nobody else",
    async check(scene) {
      const { login: words } = scene.kind.words;
      await scene.as("maker");
      await refused(words, () => scene.with({ user: "maker", password: "wrong" }));
      await refused(words, () => scene.with({ user: "stranger", password: PASSWORD }));
    },
  },
  {
    name: "rule: send",
    async check(scene) {
      for (const kind of scene.kind.kinds) {
        await (await scene.as("sender")).send(kind, "room", "x");
        await scene.denies("sender", (visitor) => visitor.send(kind, "hall", "x"));
        await scene.denies("reader", (visitor) => visitor.send(kind, "room", "x"));
      }
    },
  },
  {
    name: "rule: receive",
    async check(scene) {
      for (const kind of scene.kind.kinds) {
        await (await scene.as("reader")).receive(kind, "room");
        await scene.denies("reader", (visitor) => visitor.receive(kind, "hall"));
        await scene.denies("sender", (visitor) => visitor.receive(kind, "room"));
      }
    },
  },
  {
    name: "rule: create",
    async check(scene) {
      for (const kind of scene.kind.kinds) {
        await (await scene.as("settled")).send(kind, "room", "x");
        await scene.denies("settled", (visitor) =>
          visitor.send(kind, `new ${scene.kind.name}`, "x"),
        );
        await (await scene.as("maker")).send(kind, `made by ${scene.kind.name}`, "x");
      }
    },
  },
  {
    name: "rule: browse",
    isForQueues: true,
    async check(scene) {
      await (await scene.as("viewer")).browse("room");
      await scene.denies("viewer", (visitor) => visitor.receive("queue", "room"));
      await scene.denies("reader", (visitor) => visitor.browse("room"));
    },
  },
  {
    name: "rule: a denial outweighs a grant",
    async check(scene) {
      for (const kind of scene.kind.kinds) {
        await (await scene.as("barred")).send(kind, "hall", "x");
        await scene.denies("barred", (visitor) => visitor.send(kind, "secret/plan", "x"));
        await scene.denies("barred", (visitor) => visitor.receive(kind, "secret/plan"));
      }
      await scene.denies("barred", (visitor) => visitor.receive("topic", "#"));
    },
  },
  {
    name: "rule: a user's own names",
    async check(scene) {
      for (const kind of scene.kind.kinds) {
        await (await scene.as("own")).send(kind, "home/own/in", "x");
        await (await scene.as("own")).receive(kind, "home/own/in");
        await scene.denies("own", (visitor) => visitor.send(kind, "home/other/in", "x"));
      }
    },
  },
  {
    name: "rule: wildcard subscriptions are covered as a whole",
    async check(scene) {
      await (await scene.as("reader")).receive("topic", "news/+/eu");
      await (await scene.as("reader")).receive("topic", "news/#");
      await scene.denies("reader", (visitor) => visitor.receive("topic", "#"));
      await scene.denies("reader", (visitor) => visitor.receive("topic", "+/eu"));
    },
  },
  {
    name: "rule: temporary queues",
    isForQueues: true,
    async check(scene) {
      await (await scene.as("guarded")).temporary();
      await scene.denies("sender", (visitor) => visitor.temporary());
    },
  },
  {
    name: "queues of the broker's own are nobody's",
    isForQueues: true,
    async check(scene) {
      for (const name of ["~delayed", "~mqtt-wills"]) {
        await scene.denies("boss", (visitor) => visitor.send("queue", name, "x"));
        await scene.denies("boss", (visitor) => visitor.receive("queue", name));
        await scene.denies("boss", (visitor) => visitor.browse(name));
      }
      await (await scene.as("boss")).send("queue", "hall", "x");
    },
  },
];

/** Each client has namespaces of its own for its quotas. */
const space = (scene: Scene, what: string): string => `${what}${VISITORS.indexOf(scene.kind)}`;
const SPACES = ["links", "names", "count", "size"] as const;

const LIMITS: readonly Row[] = [
  {
    name: "rule: what MQTT 3.1.1 may not send is acknowledged and dropped, unless mqtt.closeOnDeny",
    only: "MQTT.js 3.1.1",
    async check(scene) {
      const reader = await MqttPeer.connect(endpointOf(scene), { version: 4 });
      try {
        for (const topic of ["hall", "room"]) {
          await reader.publish(topic, "it is there", { qos: 1 });
          await reader.subscribe(topic, { qos: 1 });
        }
        const sender = await scene.as("sender");
        await sender.send("topic", "hall", "denied");
        await sender.send("topic", "room", "allowed");
        equal((await reader.next()).topic, "room", "the first that arrives");
      } finally {
        await reader.end();
      }
    },
  },
  {
    name: "quota: connections of a user",
    async check(scene) {
      const first = await scene.as("few");
      await refused(scene.kind.words.limit, () => scene.as("few"));
      await scene.as("maker");
      await first.close();
      await eventually(() => scene.as("few"));
    },
  },
  {
    name: "quota: connections of a namespace",
    async check(scene) {
      const first = await scene.as("maker", space(scene, "links"));
      await refused(scene.kind.words.limit, () => scene.as("boss", space(scene, "links")));
      await scene.as("maker");
      await first.close();
      await eventually(() => scene.as("boss", space(scene, "links")));
    },
  },
  {
    name: "quota: queues and topics of a namespace",
    async check(scene) {
      const [kind] = scene.kind.kinds;
      const names = space(scene, "names");
      await (await scene.as("maker", names)).send(kind!, "one", "x");
      await scene.denies(
        "maker",
        (it) => it.send(kind!, "two", "x"),
        scene.kind.words.limit,
        names,
      );
      await (await scene.as("maker", names)).send(kind!, "one", "x");
    },
  },
  {
    name: "quota: messages of a namespace",
    check: (scene) => fullNamespace(scene, "count", "x"),
  },
  {
    name: "quota: bytes of a namespace",
    check: (scene) => fullNamespace(scene, "size", "x".repeat(6000)),
  },
  {
    name: "limit: a full destination that rejects",
    async check(scene) {
      for (const kind of scene.kind.kinds) {
        const name = `full${VISITORS.indexOf(scene.kind)}`;
        // Somebody is owed what comes to the topic, and takes nothing.
        const owed = await RheaPeer.connect(endpointOf(scene));
        try {
          if (kind === "topic") await owed.receiver(name, "topic");
          await (await scene.as("maker")).send(kind, name, "x");
          await scene.denies("maker", (it) => it.send(kind, name, "x"), scene.kind.words.full);
        } finally {
          await owed.close();
        }
      }
    },
  },
  {
    name: "limit: size of a message",
    async check(scene) {
      const [kind] = scene.kind.kinds;
      await (await scene.as("maker")).send(kind!, "sized", "x".repeat(40_000));
      const large = "x".repeat(200_000);
      await scene.denies("maker", (it) => it.send(kind!, "sized", large), scene.kind.words.large);
    },
  },
  {
    name: "rate of messages: the sender waits and is not refused",
    check: (scene) => paced(scene, "slow", 40, "x", 700),
  },
  {
    name: "rate of bytes: the sender waits and is not refused",
    check: (scene) => paced(scene, "thin", 6, "x".repeat(10_000), 800),
  },
];

const CAP_ROWS = {
  connectionsPerAddressMax: "limit: connections from one address",
  connectionsMax: "limit: connections in all",
};
const HANDSHAKE_ROW = "limit: time for the login";
const ADMIN_ROW = "rule: admin";

/** The rows of this step. */
export const ACCESS_ROWS: readonly string[] = [
  ...[...RULES, ...LIMITS].map(({ name }) => name),
  ...Object.values(CAP_ROWS),
  HANDSHAKE_ROW,
  ADMIN_ROW,
];

/** Messages of AMQP fill the namespace, for the client to find it full. */
async function fullNamespace(scene: Scene, what: "count" | "size", body: string): Promise<void> {
  const namespace = space(scene, what);
  const [kind] = scene.kind.kinds;
  await (await scene.as("maker", namespace)).send("topic", "free", "x");
  const filler = await RheaPeer.connect(endpointOf(scene), { namespace });
  try {
    await (await filler.sender("store")).deliverAll(3, () => ({ body, durable: true }));
    await scene.denies(
      "maker",
      (it) => it.send(kind!, "store", body),
      scene.kind.words.limit,
      namespace,
    );
    await (await filler.receiver("store")).acceptAll(1);
    await eventually(async () => (await scene.as("maker", namespace)).send(kind!, "store", "x"));
  } finally {
    await filler.close();
  }
}

/** For a client of AMQP that prepares the scene. */
const endpointOf = (scene: Scene): Endpoint => {
  const { host, port } = scene.endpoint;
  return { host, port, user: "maker", password: PASSWORD };
};

/** Everything arrives, and not before its time; who has no such quota need not wait. */
async function paced(
  scene: Scene,
  user: string,
  count: number,
  body: string,
  atLeastMs: number,
): Promise<string> {
  const [kind] = scene.kind.kinds;
  const bodies = Array.from({ length: count }, () => body);
  const timed = async (who: string): Promise<number> => {
    const visitor = await scene.as(who);
    const began = performance.now();
    await visitor.sendMany(kind!, "paced", bodies);
    return performance.now() - began;
  };
  const slow = await timed(user);
  const fast = await timed("maker");
  truly(slow >= atLeastMs, `${Math.round(slow)} ms are at least ${atLeastMs}`);
  truly(fast < slow, `without the quota it takes less: ${Math.round(fast)} ms`);
  return `${Math.round(slow)} ms, without the quota ${Math.round(fast)} ms`;
}

/** A connection that ends is counted out a moment later. */
async function eventually<T>(attempt: () => Promise<T>): Promise<T> {
  for (let left = 20; ; left--) {
    try {
      return await attempt();
    } catch (error) {
      if (left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function checkRows(
  context: StepContext,
  kind: VisitorKind,
  rows: readonly Row[],
  endpoint: Endpoint,
): Promise<void> {
  for (const { name, check, isForQueues, only } of rows) {
    if (isForQueues === true && !kind.kinds.includes("queue")) continue;
    if (only !== undefined && only !== kind.name) continue;
    const scene = new Scene(kind, endpoint);
    await context.check(kind.name, name, async () => {
      try {
        return await check(scene);
      } finally {
        await scene.close();
      }
    });
  }
}

/** A cap on sockets ends one connection too many before a word is said. */
async function checkCap(context: StepContext, row: string, endpoint: Endpoint): Promise<void> {
  for (const kind of VISITORS) {
    const scene = new Scene(kind, endpoint);
    const guest = { user: "guest", password: "guest" };
    await context.check(kind.name, row, async () => {
      try {
        const first = await eventually(() => scene.with(guest));
        await eventually(() => scene.with(guest));
        await refused(/./, () => scene.with(guest));
        await first.close();
        await eventually(() => scene.with(guest));
      } finally {
        await scene.close();
      }
    });
  }
}

/** Who does not log in is gone after the time-out; who did stays. */
async function checkHandshake(context: StepContext, endpoint: Endpoint): Promise<void> {
  await Promise.all(
    VISITORS.map((kind) =>
      context.check(kind.name, HANDSHAKE_ROW, async () => {
        const scene = new Scene(kind, endpoint);
        try {
          const visitor = await scene.with({ user: "guest", password: "guest" });
          for (const greeting of [Buffer.alloc(0), kind.greeting]) {
            const ms = await endsAfter(endpoint, greeting);
            truly(ms > 800 && ms < 15_000, `ended after ${Math.round(ms)} ms`);
          }
          await visitor.send(kind.kinds[0]!, "patient", "x");
        } finally {
          await scene.close();
        }
      }),
    ),
  );
}

function endsAfter({ host, port }: Endpoint, greeting: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const socket = createConnection({ host, port });
    socket.on("connect", () => socket.write(greeting));
    socket.on("data", () => undefined);
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(performance.now() - began));
    setTimeout(() => {
      socket.destroy();
      reject(new Error("still open after 30 s"));
    }, 30_000).unref();
  });
}

async function checkAdmin(context: StepContext, { host, port }: Endpoint): Promise<void> {
  await context.check("HTTP", ADMIN_ROW, async () => {
    const status = async (user?: string): Promise<number> => {
      const headers: Record<string, string> = {};
      if (user !== undefined) {
        headers["authorization"] = `Basic ${btoa(`${user}:${PASSWORD}`)}`;
      }
      return (await fetch(`http://${host}:${port}/api/overview`, { headers })).status;
    };
    equal(await status("boss"), 200, "with the right admin");
    equal(await status("maker"), 403, "without it");
    equal(await status(), 401, "nobody in particular");
  });
}

function limitsFile(folder: string): string {
  const spaces = SPACES.flatMap((space) => VISITORS.map((_, index) => `${space}${index}`));
  const quota = (of: string, text: string): string => `[[quotas]]\n${of}\n${text}\n`;
  const each = (space: string, text: string): string =>
    VISITORS.map((_, index) => quota(`namespace = "${space}${index}"`, text)).join("");
  const full = VISITORS.map(
    (_, index) => `[[policies]]\nmatch = "full${index}"\nmaxLength = 1\noverflow = "reject"\n`,
  );
  const file = join(folder, "limits.toml");
  writeFileSync(
    file,
    `[stomp]
virtualHosts = ${JSON.stringify(spaces)}
[limits]
messageBytesMax = "100KiB"
otherMessageBytesMax = "100KiB"
${full.join("")}
${quota('user = "few"', "connections = 1")}
${quota('user = "slow"', "messageRate = 20")}
${quota('user = "thin"', 'byteRate = "20KiB"')}
${each("links", "connections = 1")}
${each("names", "destinations = 1")}
${each("count", "messages = 3")}
${each("size", 'bytes = "20KiB"')}
`,
  );
  return file;
}

export const access: Step = {
  name: "access",
  about:
    "rules, quotas and limits: a client that is refused in its protocol's words, and one that is not",
  table: "Access",
  limitSeconds: 900,
  ownBrokerOnly: true,
  async run(context) {
    const folder = scratchDir("access");
    try {
      const users = join(folder, "users.toml");
      await makeUsers(users);
      const known = ["--set", `security.users=${users}`, "--set", "security.failureDelay=10ms"];
      // MQTT 3.1.1 has no other word for a PUBLISH that is refused.
      const said = ["--set", "mqtt.closeOnDeny=true"];
      const ruled = await context.ownBroker({ args: [...known, ...said] });
      const maker = new Scene(VISITORS[0]!, ruled);
      for (const kind of ["queue", "topic"] as const) {
        for (const name of ["room", "hall", "news"])
          await (await maker.as("maker")).send(kind, name, "x");
      }
      await maker.close();
      await Promise.all(VISITORS.map((kind) => checkRows(context, kind, RULES, ruled)));
      await checkAdmin(context, ruled);
      await ruled.stop();
      const limited = await context.ownBroker({ args: [...known, "--config", limitsFile(folder)] });
      // One after the other: they share the users with a quota.
      for (const kind of VISITORS) await checkRows(context, kind, LIMITS, limited);
      await limited.stop();
      for (const key of ["connectionsPerAddressMax", "connectionsMax"] as const) {
        const small = await context.ownBroker({ args: ["--set", `limits.${key}=2`] });
        await checkCap(context, CAP_ROWS[key], small);
        await small.stop();
      }
      const strict = await context.ownBroker({ args: ["--set", "limits.handshakeTimeout=1s"] });
      await checkHandshake(context, strict);
      await strict.stop();
      await checkTaken(context);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};
