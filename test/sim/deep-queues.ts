/**
 * Queues of a broker's simulated life whose policies look at each message that wants in: duplicates, full queues that refuse or
 * hold producers back, retries by table, one exclusive consumer. What is in them is the business of the model that all queues
 * have; here is what is special about the way in.
 */
import type { Broker } from "../../src/broker/broker.ts";
import type { BrokerConnection, Target } from "../../src/broker/facade.ts";
import type { Policy } from "../../src/broker/policy.ts";
import { BrokerError } from "../../src/model/errors.ts";
import { draft, queue } from "../support/test-client.ts";
import type { BrokerModel, ModelMessage } from "./broker-model.ts";
import { storedAt } from "./owed-messages.ts";
import type { StoryWorld } from "./story.ts";

export const DEEP_QUEUES = ["once", "tight", "gate", "table", "sole"] as const;
const WINDOW_MS = 150;
const MOST = 4;
export const FIRST_RETRY_MS = 20;

export const DEEP_POLICIES: readonly Policy[] = [
  { match: "once", settings: { dedupWindowMs: WINDOW_MS } },
  { match: "tight", settings: { maxLength: MOST, overflow: "reject" } },
  { match: "gate", settings: { maxLength: MOST, overflow: "block" } },
  {
    match: "table",
    settings: { retry: { kind: "table", delaysMs: [FIRST_RETRY_MS, 60] }, maxDeliveries: 3 },
  },
];

interface Fields {
  readonly priority: number;
  readonly key: string;
  readonly expiresAt: number;
  readonly deliverAt: number;
}

/** What is known of an id: "in" as long as it is new enough, "perhaps" after a crash, or where its time is not exact. */
interface Known {
  message: ModelMessage;
  /** On the clock, and in the record: the first may be later. */
  readonly at: number;
  readonly storedAt: number;
  isSure: boolean;
  /** The disk was short since: the log need not keep it for the next life. */
  wasShort?: boolean;
}

export class DeepQueues {
  readonly #world: StoryWorld;
  readonly #model: BrokerModel;
  readonly #known = new Map<string, Known>();
  readonly #isCalled = new Map<Target, boolean>();
  #broker!: Broker;
  #nextId = 0;
  duplicates = 0;
  refused = 0;

  constructor(world: StoryWorld, model: BrokerModel) {
    this.#world = world;
    this.#model = model;
  }

  owns(name: string): boolean {
    return (DEEP_QUEUES as readonly string[]).includes(name);
  }

  /** After the model has taken over. */
  opened(broker: Broker): void {
    this.#broker = broker;
    this.#isCalled.clear();
    broker.onBlocked(() => this.#noteShortage());
    for (const known of this.#known.values()) {
      const isThere = this.#model.messages.get(known.message.text) === known.message;
      known.isSure = known.wasShort !== true && (known.isSure || isThere);
    }
    this.#noteShortage();
  }

  #noteShortage(): void {
    if (this.#broker.blocked === null) return;
    for (const known of this.#known.values()) known.wasShort = true;
  }

  /** Before the model compares: what was not confirmed may be gone. */
  crashed(): void {
    for (const known of this.#known.values()) known.isSure &&= known.message.isConfirmed;
  }

  /** Its id may come again. */
  cancelled(message: ModelMessage): void {
    for (const [id, known] of this.#known) {
      if (known.message === message) this.#known.delete(id);
    }
  }

  publish(name: string, target: Target, text: string, fields: Fields): void {
    const { key, ...rest } = fields;
    const message = draft(text, { ...rest, group: key, keys: text });
    if (name === "once") this.#publishOnce(target, text, fields, message);
    else if (name === "tight") this.#publishTight(target, text, fields, message);
    else if (name === "gate") this.#publishGate(target, text, fields, message);
    else this.#add(name, text, fields).position = target.publish(message);
  }

  /** A transaction whose messages may be known, or each other's duplicates. */
  transact(peer: BrokerConnection, nextText: () => string, number: number): number {
    const { random } = this.#world;
    const target = peer.openTarget(queue("once"));
    const transaction = peer.beginTransaction();
    const added: ModelMessage[] = [];
    const { now } = this.#broker.turn;
    for (let i = random.between(1, 3); i > 0; i--) {
      const id = this.#pickId();
      const known = this.#known.get(id);
      const isIn = known !== undefined && known.storedAt + WINDOW_MS > now;
      const isOut = known !== undefined && known.at + WINDOW_MS <= now;
      if (known !== undefined && !(isIn ? known.isSure : isOut && isExact(known))) continue;
      const text = nextText();
      transaction.publish(target, draft(text, { dedupId: id, keys: text }));
      this.#world.note(`  publishes ${text} to once, id ${id}${isIn ? ", known" : ""}`);
      if (isIn) continue;
      const message = this.#add("once", text, PLAIN, number);
      added.push(message);
      this.#known.set(id, { message, at: now, storedAt: now - SAME_TURN_MS, isSure: true });
    }
    const position = transaction.commit();
    for (const message of added) message.position = position;
    target.close();
    return position;
  }

  /** Everything is taken: who was held back for a full queue has been called. */
  finish(): void {
    for (const [target, isCalled] of this.#isCalled) {
      if (!isCalled) throw new Error("gate: a producer was never called back");
      target.close();
    }
  }

  #add(name: string, text: string, fields: Fields, transaction = 0): ModelMessage {
    return this.#model.add(text, name, { ...fields, transaction });
  }

  #pickId(): string {
    const { random } = this.#world;
    const ids = [...this.#known.keys()].slice(-6);
    return ids.length > 0 && random.chance(55) ? random.pick(ids) : `id${this.#nextId++}`;
  }

  #publishOnce(target: Target, text: string, fields: Fields, message: ReturnType<typeof draft>) {
    const node = this.#broker.registry.find("queue", "/", "once")!;
    const { now } = this.#broker.turn;
    const id = this.#pickId();
    message.dedupId = id;
    const known = this.#known.get(id);
    const before = node.counters.duplicates;
    // It may be delivered before `publish` comes back; it is taken out again when it is a duplicate.
    const added = this.#add("once", text, fields);
    const position = target.publish(message);
    const isDuplicate = node.counters.duplicates > before;
    this.#world.note(
      `publish ${text} to once, id ${id}${isDuplicate ? ", known" : ""} at ${position} ${JSON.stringify(fields)}`,
    );
    const isIn = known !== undefined && known.storedAt + WINDOW_MS > now;
    const isOut = known !== undefined && known.at + WINDOW_MS <= now;
    if (isDuplicate) this.#model.messages.delete(text);
    if (isDuplicate && known === undefined) throw new Error(`once: '${text}' is no duplicate`);
    if (isDuplicate && isOut && isExact(known)) throw new Error(`once: id ${id} is too old`);
    if (!isDuplicate && isIn && known.isSure) {
      throw new Error(`once: '${text}' repeats '${known.message.text}', id ${id}`);
    }
    if (!isDuplicate) {
      added.position = position;
      const at = storedAt(this.#broker, position);
      this.#known.set(id, { message: added, at: now, storedAt: at, isSure: true });
      return;
    }
    this.duplicates++;
    const first = known!.message;
    known!.isSure = true;
    // Its confirm says that the first one is safe.
    if (!first.isConfirmed) first.position = Math.min(first.position, position);
  }

  #publishTight(target: Target, text: string, fields: Fields, message: ReturnType<typeof draft>) {
    const node = this.#broker.registry.find("queue", "/", "tight")!;
    const count = node.ownGroup.readyCount + (this.#broker.waitingFor(node)?.count ?? 0);
    try {
      const added = this.#add("tight", text, fields);
      added.position = target.publish(message);
    } catch (error) {
      if (!(error instanceof BrokerError) || error.code !== "queue-full") throw error;
      this.#model.messages.delete(text);
      this.#world.note(`  ${text} is refused`);
      this.refused++;
      if (count < MOST) throw new Error(`tight: '${text}' was refused beside ${count}`);
      return;
    }
    this.#world.note(`publish ${text} to tight ${JSON.stringify(fields)}`);
    if (count >= MOST) throw new Error(`tight: '${text}' was taken beside ${count}`);
  }

  #publishGate(target: Target, text: string, fields: Fields, message: ReturnType<typeof draft>) {
    const node = this.#broker.registry.find("queue", "/", "gate")!;
    if (target.creditAllowance > 0) {
      this.#add("gate", text, fields).position = target.publish(message);
      this.#world.note(`publish ${text} to gate ${JSON.stringify(fields)}`);
      return;
    }
    const { blocked } = this.#broker;
    if (node.ownGroup.readyCount < MOST && blocked === null) {
      throw new Error(`gate: no credit beside ${node.ownGroup.readyCount}`);
    }
  }

  /** A producer that waits at the gate. */
  waitAtGate(peer: BrokerConnection): void {
    if (this.#isCalled.size > 0) return;
    const target = peer.openTarget(queue("gate"));
    if (target.creditAllowance > 0) {
      target.close();
      return;
    }
    this.#world.note("a producer waits at the gate");
    this.#isCalled.set(target, false);
    target.onAllowance = () => this.#isCalled.set(target, true);
  }

  /** Its connection is gone, and perhaps it too. */
  peerLost(): void {
    this.#isCalled.clear();
  }
}

/** A record's time is that of the first one of its turn. */
const SAME_TURN_MS = 500;

const PLAIN: Fields = { priority: -1, key: "", expiresAt: 0, deliverAt: 0 };

/** A message that waited or was copied is known anew from then on. */
const isExact = ({ message }: Known): boolean => message.deliverAt === 0 && !message.hasCopies;
