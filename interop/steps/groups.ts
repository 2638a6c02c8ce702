/**
 * Groups over all protocols: a MQTT shared subscription, an AMQP 1.0 receiver and a STOMP subscriber that name the same group
 * of the same topic divide its messages; without a group each of them gets everything; and messages with the same group id
 * are worked on in order, whoever joins or leaves meanwhile.
 */
import { type Endpoint, sleep } from "../harness/broker-process.ts";
import { equal, truly } from "../harness/expect.ts";
import {
  join,
  MEMBER_KINDS,
  type Member,
  type MemberKind,
  Publishers,
  until,
  type Work,
} from "../harness/group-members.ts";
import type { Step } from "../harness/step.ts";

const CLIENTS = "MQTT.js, rhea, stompit";
const COUNT = 60;
const KEYS_EACH = 3;
const IN_KEY = 30;
const SHARDS = 4;

const ORDERS: readonly (readonly MemberKind[])[] = [
  ["mqtt", "amqp", "stomp"],
  ["mqtt", "stomp", "amqp"],
  ["amqp", "mqtt", "stomp"],
  ["amqp", "stomp", "mqtt"],
  ["stomp", "mqtt", "amqp"],
  ["stomp", "amqp", "mqtt"],
  ["shared", "mqtt", "stomp", "amqp"],
  ["shared", "stomp", "mqtt", "amqp"],
  ["mqtt", "shared", "stomp", "amqp"],
  ["stomp", "mqtt", "shared", "amqp"],
  ["durable", "mqtt", "stomp", "amqp"],
  ["durable", "amqp", "mqtt", "stomp"],
  ["mqtt", "durable", "stomp", "amqp"],
  ["stomp", "durable", "mqtt", "amqp"],
  ["amqp", "shared", "durable", "mqtt", "stomp"],
];

const numbered = (name: string): string[] =>
  Array.from({ length: COUNT }, (_, at) => `${name} ${at}`);

const counted = (texts: readonly string[]): string => [...texts].sort().join("\n");

/** Whoever comes first makes the group, the others join it. */
async function shareTheLoad(
  endpoint: Endpoint,
  publishers: Publishers,
  kinds: readonly MemberKind[],
): Promise<string> {
  const topic = `share.${kinds.join("-")}`;
  const got = new Map<MemberKind, string[]>(kinds.map((kind) => [kind, []]));
  const worker = async ({ text, member }: Work): Promise<void> => {
    got.get(member.kind)!.push(text);
    await sleep(2);
  };
  const members: Member[] = [];
  for (const kind of kinds) members.push(await join(endpoint, kind, { topic, group: "g", worker }));
  const sent = MEMBER_KINDS.flatMap((kind) => numbered(kind));
  for (const kind of MEMBER_KINDS) await publishers.publish(kind, topic, numbered(kind));
  const all = (): string[] => [...got.values()].flat();
  await until(`all of ${sent.length}, ${all().length} came`, () => all().length >= sent.length);
  await sleep(200);
  equal(counted(all()), counted(sent), "each message once over all members");
  for (const [kind, texts] of got) truly(texts.length > 0, `${kind} got some`);
  for (const member of members) await member.leave();
  return [...got].map(([kind, texts]) => `${kind} ${texts.length}`).join(", ");
}

/** A durable subscription that came to the group of a MQTT share gets what it is owed when it comes back. */
async function durableGuest(endpoint: Endpoint, publishers: Publishers): Promise<void> {
  const topic = "share.guest";
  const done: string[] = [];
  const worker = async ({ text }: Work): Promise<void> => {
    done.push(text);
  };
  const share = await join(endpoint, "mqtt", { topic, group: "g", worker });
  const durable = await join(endpoint, "durable", { topic, group: "g", worker });
  durable.drop();
  await share.leave();
  await publishers.publish("stomp", topic, numbered("alone"));
  const again = await join(endpoint, "durable", { topic, group: "g", worker });
  await until(`all of ${COUNT}`, () => done.length >= COUNT);
  equal(counted(done), counted(numbered("alone")), "each message once");
  await again.leave();
}

/** Two of three break off with messages in hand, and nobody is there for a while. */
async function loseNothing(endpoint: Endpoint, publishers: Publishers): Promise<void> {
  const topic = "share.leaving";
  const done: string[] = [];
  const stuck = async (): Promise<void> => new Promise(() => undefined);
  const worker = async ({ text }: Work): Promise<void> => {
    done.push(text);
  };
  const members: Member[] = [];
  for (const kind of MEMBER_KINDS) {
    members.push(await join(endpoint, kind, { topic, group: "g", worker: stuck }));
  }
  await publishers.publish("amqp", topic, numbered("before"));
  for (const member of members) member.drop();
  await publishers.publish("stomp", topic, numbered("alone"));
  const sent = [...numbered("before"), ...numbered("alone")];
  for (const kind of MEMBER_KINDS) {
    members.push(await join(endpoint, kind, { topic, group: "g", worker }));
  }
  await until(`all of ${sent.length}`, () => done.length >= sent.length);
  await sleep(200);
  equal(counted(done), counted(sent), "each message once");
  for (const member of members.slice(MEMBER_KINDS.length)) await member.leave();
}

async function everybodyGetsAll(endpoint: Endpoint, publishers: Publishers): Promise<void> {
  const topic = "everybody.all";
  const got = new Map<MemberKind, string[]>(MEMBER_KINDS.map((kind) => [kind, []]));
  const worker = async ({ text, member }: Work): Promise<void> => {
    got.get(member.kind)!.push(text);
  };
  const members: Member[] = [];
  for (const kind of MEMBER_KINDS) {
    members.push(await join(endpoint, kind, { topic, group: "", worker }));
  }
  const sent = MEMBER_KINDS.flatMap((kind) => numbered(kind));
  for (const kind of MEMBER_KINDS) await publishers.publish(kind, topic, numbered(kind));
  for (const [kind, texts] of got) {
    await until(`all for ${kind}`, () => texts.length >= sent.length);
    equal(texts.join("\n"), sent.join("\n"), `${kind}: everything, in order`);
  }
  for (const member of members) await member.leave();
}

/** Who works on which key, and how far each key is. */
class KeyLedger {
  readonly wrong: string[] = [];
  readonly #done = new Map<string, number>();
  readonly #holders = new Map<string, Member>();
  readonly #gone = new Set<Member>();

  get doneCount(): number {
    return [...this.#done.values()].reduce((sum, last) => sum + last + 1, 0);
  }

  async work({ text, member }: Work): Promise<void> {
    const [key, number] = text.split(" ") as [string, string];
    const holder = this.#holders.get(key);
    if (holder !== undefined && holder !== member && !this.#gone.has(holder)) {
      this.wrong.push(`${text} went to ${member.kind} while ${holder.kind} worked on ${key}`);
    }
    this.#holders.set(key, member);
    await sleep(1 + Math.random() * 4);
    if (this.#gone.has(member)) return;
    if (this.#holders.get(key) === member) this.#holders.delete(key);
    const last = this.#done.get(key) ?? -1;
    // Once more what a member acknowledged as it broke off is no fault.
    if (Number(number) <= last) return;
    if (Number(number) !== last + 1) this.wrong.push(`${text} was done after ${last}`);
    this.#done.set(key, Number(number));
  }

  left(member: Member): void {
    this.#gone.add(member);
  }
}

async function keysStayInOrder(
  endpoint: Endpoint,
  publishers: Publishers,
  topic = "ordered.keys",
): Promise<string> {
  const ledger = new KeyLedger();
  const membership = { topic, group: "g", worker: (work: Work) => ledger.work(work) };
  const members: Member[] = [];
  for (const kind of MEMBER_KINDS) members.push(await join(endpoint, kind, membership));
  // A joins and leaves go on while messages of many keys are published over every protocol.
  const keys = MEMBER_KINDS.flatMap((kind) =>
    Array.from({ length: KEYS_EACH }, (_, at) => [kind, `${kind}-${at}`] as const),
  );
  let changes = 0;
  let isPublishing = true;
  const changing = (async () => {
    while (isPublishing) {
      await sleep(60);
      const kind = MEMBER_KINDS[changes % MEMBER_KINDS.length]!;
      members.push(await join(endpoint, kind, membership));
      const oldest = members.shift()!;
      ledger.left(oldest);
      if (changes++ % 2 === 0) oldest.drop();
      else await oldest.leave();
    }
  })();
  for (let number = 0; number < IN_KEY; number++) {
    for (const [kind, key] of keys) {
      await publishers.publish(kind, topic, [`${key} ${number}`], key);
    }
  }
  isPublishing = false;
  await changing;
  const total = keys.length * IN_KEY;
  await until(`all ${total} done`, () => ledger.doneCount >= total);
  for (const member of members) await member.leave();
  truly(ledger.wrong.length === 0, ledger.wrong.slice(0, 5).join("; "));
  truly(changes > 3, `${changes} changes of members`);
  return `${total} messages of ${keys.length} keys, ${changes} changes of members`;
}

export const groupsStep: Step = {
  name: "groups",
  about: "one group of MQTT, AMQP 1.0 and STOMP members; none; and ordered by group id",
  table: "Groups over all protocols",
  limitSeconds: 180,
  async run(context) {
    const endpoint = await context.broker();
    const publishers = await Publishers.connect(endpoint);
    for (const kinds of ORDERS) {
      await context.check(
        CLIENTS,
        `one group, joined by ${kinds.join(", ")}: shares the load`,
        () => shareTheLoad(endpoint, publishers, kinds),
      );
    }
    await context.check(CLIENTS, "one group: what leaving members held goes to others", () =>
      loseNothing(endpoint, publishers),
    );
    await context.check(
      CLIENTS,
      "one group: a durable subscription that joined it is owed its messages",
      () => durableGuest(endpoint, publishers),
    );
    await context.check(CLIENTS, "no group: everybody gets everything, in order", () =>
      everybodyGetsAll(endpoint, publishers),
    );
    await context.check(CLIENTS, "one group: each group id in order while members change", () =>
      keysStayInOrder(endpoint, publishers),
    );
    await publishers.close();
    const sharded = await context.broker({ args: ["--set", `topics.shards=${SHARDS}`] });
    const others = await Publishers.connect(sharded);
    await context.check(
      CLIENTS,
      `a topic with ${SHARDS} shards: each group id in order while members change`,
      () => keysStayInOrder(sharded, others, "sharded.keys"),
    );
    await others.close();
  },
};
