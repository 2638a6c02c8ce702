/**
 * One random life story of a broker, decided by its seed alone: publishing, consuming, every outcome, transactions, expiry,
 * delays, retries, limits, purges, dead letters moved back, full disks, crashes and restarts. Time is simulated. After
 * each restart the model says what must be there; on the way, what may be delivered.
 */
import type { Broker } from "../../src/broker/broker.ts";
import { type BrokerConnection, OUTCOME, type Outcome } from "../../src/broker/facade.ts";
import { Operations } from "../../src/broker/operations.ts";
import type { Policy } from "../../src/broker/policy.ts";
import { BrokerError } from "../../src/model/errors.ts";
import { RecordView } from "../../src/model/record-view.ts";
import type { MessageStore } from "../../src/store/message-store.ts";
import { makeBroker } from "../support/log-broker.ts";
import type { Random } from "../support/random.ts";
import { Collector, connect, consume, draft, queue } from "../support/test-client.ts";
import { BrokerModel, type ModelMessage } from "./broker-model.ts";
import { DEEP_POLICIES, DEEP_QUEUES, DeepQueues, FIRST_RETRY_MS } from "./deep-queues.ts";
import { HistoryStory } from "./history-story.ts";
import { RetainedStory } from "./retained-story.ts";
import { SessionStory } from "./session-story.ts";
import { ShardStory } from "./shard-story.ts";
import { SimulatedClock } from "./simulated-clock.ts";
import type { Story } from "./story.ts";
import { isOfTopic, TopicStory } from "./topic-story.ts";
import { ValueStory } from "./value-story.ts";

type Trace = ((line: string) => void) | null;

/** The engine under the broker: opened again after a crash. */
export interface Engine {
  open(): MessageStore;
  /** Some of what was appended becomes durable. */
  progress(): void;
  /** All of it. */
  sync(): void;
  crash(): void;
  /** The next life ends in the middle of some operation. */
  endanger?(): void;
  /** Nothing goes wrong from now on. */
  calm?(): void;
  /** Something happens to the disk; returns what. */
  trouble?(): string;
  /** The store may have failed for good. */
  readonly isBroken?: boolean;
  /** Is this how the process of a dangerous life ends? */
  isEnd?(error: unknown): boolean;
  /** How often the disk has refused to give something. */
  readonly refusals?: number;
  /** From now on it gives everything. */
  giveAll?(): void;
}

export interface StoryOptions {
  /** With trouble of the disk, and with topics. */
  readonly isTroubled?: boolean;
  readonly hasRetained?: boolean;
  /** With everything that policies ask for: newest values, duplicates, histories, full queues; and messages taken back. */
  readonly isDeep?: boolean;
}

const QUEUES = ["plain", "ranked", "keyed", "slow", "short", "single"] as const;
const POLICIES: Policy[] = [
  { match: "slow", settings: { retry: { kind: "fixed", delayMs: 40 }, maxDeliveries: 3 } },
  { match: "short", settings: { maxLength: 4, overflow: "drop-head" } },
  { match: "single", settings: { isSingleActive: true, maxBytes: 3000, overflow: "dead-letter" } },
  ...DEEP_POLICIES,
];

class Reader extends Collector {
  readonly queue: string;
  readonly number: number;
  readonly connection: BrokerConnection;
  readonly held = new Map<number, ModelMessage>();
  priority = 0;
  readonly #onMessage: (reader: Reader, text: string) => ModelMessage;
  #seen = 0;

  constructor(
    queueName: string,
    number: number,
    connection: BrokerConnection,
    onMessage: (reader: Reader, text: string) => ModelMessage,
  ) {
    super();
    this.queue = queueName;
    this.number = number;
    this.connection = connection;
    this.#onMessage = onMessage;
  }

  override deliver(run: Parameters<Collector["deliver"]>[0]): void {
    super.deliver(run);
    for (const { text, number } of this.received.slice(this.#seen)) {
      this.held.set(number, this.#onMessage(this, text));
    }
    this.#seen = this.received.length;
  }
}

export class BrokerSimulation {
  readonly #random: Random;
  readonly #engine: Engine;
  readonly #clock = new SimulatedClock();
  readonly #model = new BrokerModel();
  readonly #trace: ((line: string) => void) | null;
  #broker!: Broker;
  #store!: MessageStore;
  #peers: BrokerConnection[] = [];
  #readers: Reader[] = [];
  #transactions = new Map<
    number,
    { settled: ModelMessage[]; position: number; isConfirmed: boolean }
  >();
  #nextText = 0;
  #nextReader = 0;
  #nextTransaction = 0;
  #snapshot: Iterator<void> | null = null;
  delivered = 0;
  restarts = 0;
  /** Records that the store moved out of almost empty segments. */
  movedRecords = 0;

  readonly #isTroubled: boolean;
  readonly #topics: TopicStory;
  readonly #retained: RetainedStory | null;
  readonly #queues: readonly string[];
  readonly #deep: DeepQueues | null;
  readonly #stories: readonly Story[];
  /** Refusals of the disk before this life. */
  #refusals = 0;

  constructor(random: Random, engine: Engine, trace: Trace, options: StoryOptions = {}) {
    this.#random = random;
    this.#engine = engine;
    this.#trace = trace;
    this.#isTroubled = options.isTroubled ?? false;
    this.#topics = new TopicStory(random, this.#model, (line) => this.#note(line));
    this.#retained =
      options.hasRetained === true ? new RetainedStory(random, (line) => this.#note(line)) : null;
    const isDeep = options.isDeep ?? false;
    const world = { random, clock: this.#clock, note: (line: string) => this.#note(line) };
    this.#queues = isDeep ? [...QUEUES, ...DEEP_QUEUES] : QUEUES;
    this.#deep = isDeep ? new DeepQueues(world, this.#model) : null;
    this.#stories = isDeep
      ? [
          new ValueStory(world),
          new HistoryStory(world),
          new ShardStory(world),
          new SessionStory(world),
        ]
      : [];
  }

  now = (): number => this.#clock.time;

  async run(): Promise<void> {
    const lives = this.#random.between(2, 4);
    for (let life = 0; this.#isTroubled && life < lives; life++) await this.#dangerousLife();
    for (let life = 0; life < lives; life++) {
      await this.#open();
      const steps = this.#random.between(5, 60);
      for (let i = 0; i < steps; i++) {
        if (!this.#retain() && !this.#goDeep()) await this.#step();
      }
      if (life === lives - 1) this.#drainAll();
      else if (this.#random.chance(75)) this.#crash();
      else await this.#restart();
    }
    await this.#close();
  }

  async #dangerousLife(): Promise<void> {
    const engine = this.#engine;
    if (this.#random.chance(70)) engine.endanger?.();
    try {
      await this.#open();
      for (let i = this.#random.between(5, 60); i > 0 && engine.isBroken !== true; i--) {
        if (this.#random.chance(8)) this.#note(engine.trouble?.() ?? "");
        else if (this.#random.chance(20)) this.#topics.step();
        else if (!this.#retain() && !this.#goDeep()) await this.#step();
      }
      // Nothing may be confirmed that a failing disk does not have.
      for (let i = 0; i < 5; i++) {
        engine.progress();
        this.#turn();
      }
    } catch (error) {
      if (engine.isEnd?.(error) !== true) throw error;
    }
    this.#crash();
    engine.calm?.();
  }

  /** The disk has refused something in this life: what it was comes later than others. */
  get #isRefused(): boolean {
    return (this.#engine.refusals ?? 0) > this.#refusals;
  }

  #retain(): boolean {
    if (this.#retained === null || !this.#random.chance(20)) return false;
    this.#retained.step(this.#isRefused);
    if (this.#random.chance(70)) this.#turn();
    return true;
  }

  #goDeep(): boolean {
    const random = this.#random;
    if (this.#deep === null) return false;
    // As whoever hears from a peer does.
    this.#broker.turn.touch();
    if (!random.chance(55)) return false;
    const roll = random.below(20);
    if (roll < 16) random.pick(this.#stories).step();
    else if (roll < 18) this.#cancelDelayed();
    else if (roll < 19) this.#transactOnce(this.#deep);
    else this.#deep.waitAtGate(random.pick(this.#peers));
    if (random.chance(70)) this.#turn();
    return true;
  }

  #transactOnce(deep: DeepQueues): void {
    if (!this.#broker.hasRoom(65_536)) return;
    const number = ++this.#nextTransaction;
    this.#note(`transaction ${number}`);
    const nextText = (): string => `m${this.#nextText++}`;
    const position = deep.transact(this.#random.pick(this.#peers), nextText, number);
    this.#transactions.set(number, { settled: [], position, isConfirmed: false });
  }

  /** One that waits for its time is taken back: it never comes, and when that was confirmed, not after a crash either. */
  #cancelDelayed(): void {
    const waiting = this.#broker.delayed.list({ name: this.#random.pick(DEEP_QUEUES) }).messages;
    if (waiting.length === 0) return;
    const { number, keys } = this.#random.pick(waiting);
    const message = this.#model.messages.get(keys);
    if (message === undefined) throw new Error(`invented: '${keys}' waits for its time`);
    this.#note(`cancel ${keys}`);
    const life = this.restarts;
    const cancelled = this.#broker.delayed.cancel(number).then((isDone) => {
      if (isDone && life === this.restarts) message.isAckConfirmed = true;
    });
    void cancelled;
    message.isAcked = true;
    this.#deep!.cancelled(message);
  }

  async #open(): Promise<void> {
    this.#store = this.#engine.open();
    this.#broker = makeBroker(this.#store, {
      keepAwake: 0,
      policies: [...POLICIES, ...this.#stories.flatMap(({ policies }) => policies)],
      settings: { maxDeliveries: 4 },
      clock: this.#clock,
    });
    this.#refusals = this.#engine.refusals ?? 0;
    await this.#broker.open();
    this.#engine.giveAll?.();
    this.#peers = [connect(this.#broker, "a"), connect(this.#broker, "b")];
    this.#readers = [];
    this.#topics.opened(this.#broker);
    this.restarts++;
    const found = this.#contents();
    this.#note(`open: ${JSON.stringify([...found])}`);
    this.#model.recovered(found, this.#clock.time, this.#transactions);
    this.#retained?.opened(this.#broker, this.#isRefused);
    this.#deep?.opened(this.#broker);
    for (const story of this.#stories) story.opened(this.#broker);
    this.#transactions = new Map();
  }

  /** What every queue owes to somebody, in order. */
  #contents(): Map<string, string[]> {
    const found = new Map<string, string[]>();
    const view = new RecordView();
    const entry = {
      physicalOffset: new Float64Array(1),
      size: new Int32Array(1),
      tagHash: new Int32Array(1),
    };
    for (const node of this.#broker.registry.nodes()) {
      if (node.kind === "topic" || this.#isOfStory(node.address.name)) continue;
      const texts: string[] = [];
      for (const { state, queue: entries } of node.ownGroup.levels ?? node.ownGroup.shards) {
        const end = entries.maxOffset;
        for (
          let at = state.findReady(state.low, end);
          at < end;
          at = state.findReady(at + 1, end)
        ) {
          const isThere =
            this.#store.read(entries, at, 1, entry) === 1 &&
            this.#store.view(entry.physicalOffset[0]!, entry.size[0]!, view);
          // A power cut may tear a record out before others: it was not confirmed, or the model misses it.
          if (!isThere) continue;
          texts.push(view.buffer.toString("utf8", view.bodyStart, view.bodyEnd));
        }
      }
      // By priority in the shards, by number within each: the model compares numbers of one priority only.
      found.set(node.address.name, node.address.name === "ranked" ? texts.sort(byNumber) : texts);
    }
    for (const [name, texts] of this.#topics.contents(this.#store)) found.set(name, texts);
    return found;
  }

  #isOfStory(name: string): boolean {
    return this.#stories.some((story) => story.owns(name));
  }

  async #step(): Promise<void> {
    const random = this.#random;
    const roll = random.below(100);
    if (roll < 30) this.#publishSome();
    else if (roll < 38) this.#openReader();
    else if (roll < 56) this.#settleSome();
    else if (roll < 60) this.#transact();
    else if (roll < 64) this.#closeReader();
    else if (roll < 66) this.#losePeer();
    else if (roll < 74) this.#clock.advance(random.pick([1, 5, 30, 200]));
    else if (roll < 78) this.#purge();
    else if (roll < 81) this.#broker.keepHouse();
    else if (roll < 84) this.#snapshotSome();
    else if (roll < 85) await this.#moveBack();
    else if (roll < 93) this.#engine.progress();
    else {
      this.#note("sync");
      this.#engine.sync();
    }
    if (random.chance(70)) this.#turn();
  }

  /** What waits for the end of the turn; then who was confirmed. */
  #turn(): void {
    this.#clock.run();
    const broker = this.#broker;
    this.#note(`turn: ${broker.confirmedTo("fsync")} ${broker.settledTo()}`);
    this.#model.confirm(broker.confirmedTo("fsync"), broker.settledTo());
    this.#topics.turn(this.#isRefused);
    this.#retained?.turn();
    for (const story of this.#stories) story.turn();
    const to = broker.confirmedTo("fsync");
    for (const transaction of this.#transactions.values()) {
      if (transaction.position > to || transaction.isConfirmed) continue;
      transaction.isConfirmed = true;
      for (const message of transaction.settled) message.isAckConfirmed = true;
    }
  }

  #fields(name: string) {
    const random = this.#random;
    const now = this.#clock.time;
    return {
      priority: name === "ranked" ? random.pick([-1, 0, 4, 9]) : -1,
      key: name === "keyed" && random.chance(80) ? random.pick(["x", "y"]) : "",
      expiresAt: random.chance(12) ? now + random.between(1, 100) : 0,
      deliverAt: random.chance(8) ? now + random.between(1, 150) : 0,
    };
  }

  #publishSome(): void {
    const name = this.#random.pick(this.#queues);
    const target = this.#random.pick(this.#peers).openTarget(queue(name));
    for (let i = this.#random.between(1, 6); i > 0; i--) {
      if (!this.#broker.hasRoom(4096)) break;
      const text = `m${this.#nextText++}`;
      const fields = this.#fields(name);
      if (this.#deep?.owns(name)) {
        this.#deep.publish(name, target, text, fields);
        continue;
      }
      const message = this.#model.add(text, name, { ...fields, transaction: 0 });
      this.#note(`publish ${text} to ${name} ${JSON.stringify(fields)}`);
      message.position = target.publish(this.#draft(text, fields));
      this.#limited(name);
    }
    target.close();
  }

  #draft(text: string, { priority, key, expiresAt, deliverAt }: ReturnType<typeof this.fields>) {
    return draft(text, { priority, group: key, expiresAt, deliverAt });
  }
  /** For the type only. */
  fields(): { priority: number; key: string; expiresAt: number; deliverAt: number } {
    return this.#fields("plain");
  }

  /** Queues with limits push messages out. */
  #limited(name: string): void {
    if (name === "short")
      this.#all("short", (message) => {
        message.mayVanish = true;
      });
    if (name === "single")
      this.#all("single", (message) => {
        message.hasCopies = true;
      });
  }

  #all(name: string, change: (message: ModelMessage) => void): void {
    for (const message of this.#model.messages.values())
      if (message.queue === name) change(message);
  }

  #openReader(): void {
    if (this.#readers.length >= 6) return;
    const name = this.#random.chance(10)
      ? `DLQ.${this.#random.pick(this.#queues)}`
      : this.#random.pick(this.#queues);
    if (name === "sole" && this.#mustBeLocked()) return;
    const connection = this.#random.pick(this.#peers);
    const reader = new Reader(name, ++this.#nextReader, connection, (own, text) =>
      this.#onMessage(own, text),
    );
    reader.priority = this.#random.below(2);
    reader.consumer = connection.openConsumer(
      {
        address: queue(name),
        mode: "consume",
        preSettled: false,
        priority: reader.priority,
        isExclusive: name === "sole",
        onLost: this.#random.pick([OUTCOME.RELEASE, OUTCOME.FAIL]),
      },
      reader,
    );
    reader.consumer.setCredit(this.#random.pick([1, 3, 1000]));
    this.#note(`reader ${reader.number} on ${name}, credit ${reader.consumer.credit}`);
    this.#readers.push(reader);
  }

  /** An exclusive consumer is the only one. */
  #mustBeLocked(): boolean {
    if (!this.#readers.some((reader) => reader.queue === "sole")) return false;
    try {
      consume(this.#random.pick(this.#peers), queue("sole"));
    } catch (error) {
      if (error instanceof BrokerError && error.code === "resource-locked") return true;
      throw error;
    }
    throw new Error("sole: a second consumer was let in");
  }

  #onMessage(reader: Reader, text: string): ModelMessage {
    this.delivered++;
    this.#note(`  ${text} to reader ${reader.number}`);
    const { now } = this.#broker.turn;
    const message = this.#model.delivered(text, reader.queue, now);
    if (this.#deep !== null && reader.queue === message.queue) {
      this.#checkActive(reader);
      if (message.notBefore > now) throw new Error(`early: '${text}' was to be tried again later`);
    }
    if (reader.queue === message.queue) this.#checkOrder(reader, message);
    return message;
  }

  /** Of several consumers only the first gets messages. */
  #checkActive(reader: Reader): void {
    if (reader.queue !== "single") return;
    const first = this.#readers
      .filter((each) => each.queue === "single")
      .reduce((a, b) => (b.priority > a.priority ? b : a), reader);
    if (first.priority === reader.priority && first.number >= reader.number) return;
    throw new Error(`single: reader ${reader.number} got a message beside ${first.number}`);
  }

  /** Nothing older of the same queue, priority and key is ready: it was delivered, is held by somebody, or may be gone. */
  #checkOrder(reader: Reader, message: ModelMessage): void {
    const { queue: name, number, priority, key } = message;
    if (name === "slow" || name === "table" || message.deliverAt > 0 || message.hasCopies) return;
    if (name === "keyed" && key === "") return;
    for (const older of this.#model.messages.values()) {
      if (older.number >= number) return;
      const isSame = older.queue === name && older.priority === priority && older.key === key;
      if (!isSame || older.holders > 0 || older.isAcked || older.hasCopies) continue;
      if (older.mayVanish || older.deliverAt > 0 || older.expiresAt !== 0) continue;
      if (this.#isRefused) continue;
      throw new Error(`order: '${message.text}' overtook '${older.text}' at ${reader.queue}`);
    }
    if (name === "keyed") {
      for (const other of this.#readers) {
        if (other === reader) continue;
        for (const held of other.held.values()) {
          if (held.key === key && held.queue === name && !held.hasCopies) {
            throw new Error(`key ${key}: '${message.text}' beside '${held.text}'`);
          }
        }
      }
    }
  }

  #settleSome(): void {
    const reader = this.#pickHolding();
    if (reader === undefined) return;
    const numbers = [...reader.held.keys()];
    const first = this.#random.pick(numbers);
    const last = first + this.#random.below(4);
    const outcome: Outcome = this.#random.chance(55)
      ? OUTCOME.ACCEPT
      : this.#random.pick([OUTCOME.RELEASE, OUTCOME.FAIL, OUTCOME.REJECT]);
    this.#note(`reader ${reader.number} settles ${first}..${last} as ${outcome}`);
    const taken = this.#take(reader, first, last, outcome);
    const position = reader.consumer.settle(first, last, outcome);
    if (outcome !== OUTCOME.ACCEPT || reader.queue.startsWith("DLQ.")) return;
    for (const message of taken) message.ackPosition = position;
  }

  /** What the model makes of an outcome. */
  #take(
    reader: Reader,
    first: number,
    last: number,
    outcome: Outcome,
    isSettled = true,
  ): ModelMessage[] {
    const taken: ModelMessage[] = [];
    for (let number = first; number <= last; number++) {
      const message = reader.held.get(number);
      if (message === undefined) continue;
      reader.held.delete(number);
      if (reader.queue !== message.queue) {
        if (outcome === OUTCOME.ACCEPT || outcome === OUTCOME.REJECT) message.mayVanish = true;
        continue;
      }
      message.holders--;
      if (outcome === OUTCOME.ACCEPT) message.isAcked = true;
      // It may have failed often enough by now.
      else if (outcome !== OUTCOME.RELEASE) message.hasCopies = true;
      if (outcome === OUTCOME.FAIL && isSettled && message.queue === "table") {
        message.notBefore = this.#broker.turn.now + FIRST_RETRY_MS;
      }
      taken.push(message);
    }
    return taken;
  }

  #pickHolding(): Reader | undefined {
    const holding = this.#readers.filter((reader) => reader.held.size > 0);
    return holding.length === 0 ? undefined : this.#random.pick(holding);
  }

  #transact(): void {
    const random = this.#random;
    if (!this.#broker.hasRoom(65_536)) return;
    const peer = random.pick(this.#peers);
    const transaction = peer.beginTransaction();
    const number = ++this.#nextTransaction;
    const isCommit = random.chance(75);
    this.#note(`transaction ${number}, ${isCommit ? "commit" : "rollback"}`);
    const published: ModelMessage[] = [];
    for (let i = random.below(4); i > 0; i--) {
      const name = random.pick(["plain", "ranked", "keyed"] as const);
      const target = peer.openTarget(queue(name));
      const text = `m${this.#nextText++}`;
      const fields = this.#fields(name);
      transaction.publish(target, this.#draft(text, fields));
      if (isCommit) {
        published.push(this.#model.add(text, name, { ...fields, transaction: number }));
        this.#note(`  publishes ${text} to ${name}`);
      }
      target.close();
    }
    const staged: Array<{ reader: Reader; first: number }> = [];
    const reader = this.#pickHolding();
    if (reader !== undefined && !reader.queue.startsWith("DLQ.")) {
      for (const first of [...reader.held.keys()].slice(0, random.between(1, 3))) {
        transaction.settle(reader.consumer, first, first, OUTCOME.ACCEPT);
        staged.push({ reader, first });
      }
    }
    const isRedelivered = random.chance(50);
    if (!isCommit) {
      transaction.rollback(isRedelivered);
      if (!isRedelivered) return;
      for (const { reader: own, first } of staged) this.#take(own, first, first, OUTCOME.FAIL);
      return;
    }
    const settled = staged.flatMap(({ reader: own, first }) =>
      this.#take(own, first, first, OUTCOME.ACCEPT),
    );
    this.#note(`  settles ${settled.map(({ text }) => text).join(" ")}`);
    const position = transaction.commit();
    for (const message of published) message.position = position;
    this.#transactions.set(number, { settled, position, isConfirmed: false });
  }

  #closeReader(): void {
    if (this.#readers.length === 0) return;
    const reader = this.#random.pick(this.#readers);
    this.#readers.splice(this.#readers.indexOf(reader), 1);
    const outcome = this.#random.pick([OUTCOME.RELEASE, OUTCOME.FAIL]);
    this.#note(`reader ${reader.number} closes with ${outcome}`);
    this.#takeAll(reader, outcome);
    reader.consumer.close(outcome);
  }

  #losePeer(): void {
    const at = this.#random.below(this.#peers.length);
    const peer = this.#peers[at]!;
    this.#note(`connection ${at} is lost`);
    for (const reader of this.#readers.filter(({ connection }) => connection === peer)) {
      this.#takeAll(reader, OUTCOME.FAIL);
    }
    this.#readers = this.#readers.filter(({ connection }) => connection !== peer);
    this.#deep?.peerLost();
    peer.close();
    this.#peers[at] = connect(this.#broker, at === 0 ? "a" : "b");
  }

  #purge(): void {
    const name = this.#random.pick(this.#queues);
    const node = { kind: "queue", namespace: "/", name } as const;
    if (this.#broker.registry.find("queue", "/", name) === undefined) return;
    this.#note(`purge ${name}`);
    new Operations(this.#broker).purge(node);
    this.#all(name, (message) => {
      message.mayVanish = true;
    });
  }

  async #moveBack(): Promise<void> {
    const name = `DLQ.${this.#random.pick(this.#queues)}`;
    if (this.#broker.registry.find("queue", "/", name) === undefined) return;
    // It waits for space, which only this story could make.
    if (this.#isTroubled) return;
    this.#note(`move ${name}`);
    this.#all(name.slice(4), (message) => {
      if (message.hasCopies) message.wasMoved = true;
    });
    let isDone = false;
    const moving = new Operations(this.#broker).move(name, undefined, "/", 10).then((count) => {
      this.#note(`  moved ${count}`);
      isDone = true;
    });
    for (let i = 0; !isDone && i < 100; i++) {
      this.#turn();
      this.#engine.sync();
      await Promise.resolve();
    }
    if (!isDone) throw new Error("move does not come to an end");
    await moving;
  }

  /** A snapshot is collected a few steps at a time, while everything else goes on. */
  #snapshotSome(): void {
    this.#snapshot ??= this.#broker.snapshotSteps();
    for (let i = this.#random.between(1, 6); i > 0 && this.#snapshot !== null; i--) {
      if (this.#snapshot.next().done === true) this.#snapshot = null;
    }
  }

  #crash(): void {
    this.#snapshot = null;
    this.#topics.crashed();
    this.#deep?.crashed();
    for (const story of this.#stories) story.crashed();
    this.#note("--- crash");
    this.#clock.forget();
    this.#engine.crash();
  }

  async #restart(): Promise<void> {
    this.#snapshot = null;
    this.#note("--- restart");
    await this.#close();
    this.#clock.forget();
    // Everything that was accepted is safe then.
    this.#model.confirm(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
    for (const transaction of this.#transactions.values()) transaction.isConfirmed = true;
    this.#retained?.stopped();
    for (const story of this.#stories) story.stopped();
  }

  async #close(): Promise<void> {
    // Consumers lose what they hold; nothing of it is settled.
    for (const reader of this.#readers) this.#takeAll(reader, OUTCOME.FAIL);
    let isClosed = false;
    this.#turn();
    this.#engine.sync();
    const closing = this.#broker.close().then(() => {
      isClosed = true;
    });
    for (let i = 0; !isClosed && i < 1000; i++) {
      this.#engine.sync();
      await Promise.resolve();
    }
    await closing;
  }

  #takeAll(reader: Reader, outcome: Outcome): void {
    this.#take(reader, 0, reader.received.length, outcome, false);
  }

  /** In the end everything that is owed comes out, and the counts say zero. */
  #drainAll(): void {
    for (const reader of this.#readers) {
      this.#takeAll(reader, OUTCOME.FAIL);
      reader.consumer.close(OUTCOME.RELEASE);
    }
    this.#readers = [];
    this.#engine.sync();
    this.#clock.advance(100_000);
    for (let i = 0; i < 20; i++) {
      this.#turn();
      this.#engine.sync();
      // What becomes durable only now, and is due, comes with the next timer.
      this.#clock.advance(1);
      this.#broker.keepHouse();
    }
    this.#retained?.checkAll();
    this.#topics.drain(() => {
      this.#turn();
      this.#engine.sync();
    });
    const names = [...this.#broker.registry.nodes()]
      .filter((node) => node.kind === "queue")
      .map((node) => node.address.name);
    const got = new Set<string>();
    for (const name of names) {
      if (name === "~delayed" || this.#isOfStory(name)) continue;
      const reader = new Reader(name, ++this.#nextReader, this.#peers[0]!, (own, text) => {
        got.add(text);
        return this.#onMessage(own, text);
      });
      reader.consumer = this.#peers[0]!.openConsumer(
        { address: queue(name), mode: "consume", preSettled: false, onLost: OUTCOME.RELEASE },
        reader,
      );
      reader.consumer.setCredit(100_000);
      for (let i = 0; i < 50; i++) {
        this.#turn();
        this.#engine.sync();
        if (reader.held.size === 0) continue;
        const last = reader.received.length - 1;
        this.#take(reader, 0, last, OUTCOME.ACCEPT);
        reader.consumer.settle(0, last, OUTCOME.ACCEPT);
      }
      const node = this.#broker.registry.find("queue", "/", name)!;
      if (node.backlog !== 0) throw new Error(`count: ${name} says ${node.backlog}, nothing comes`);
      if (node.storedBytes !== 0) throw new Error(`bytes: ${name} says ${node.storedBytes}`);
    }
    this.#deep?.finish();
    for (const story of this.#stories) {
      story.finish(() => {
        this.#turn();
        this.#engine.sync();
      });
    }
    const delayed = this.#broker.registry.find("queue", "/", "~delayed")?.backlog ?? 0;
    if (delayed !== 0) throw new Error(`${delayed} delayed messages never came`);
    for (const message of this.#model.messages.values()) {
      const isOver = message.expiresAt !== 0;
      if (message.isAcked || message.mayVanish || isOver || got.has(message.text)) continue;
      if (isOfTopic(message)) continue;
      if (message.isConfirmed) throw new Error(`lost: '${message.text}' never came`);
    }
  }

  #note(line: string): void {
    this.#trace?.(line);
  }
}

const byNumber = (a: string, b: string): number => Number(a.slice(1)) - Number(b.slice(1));
