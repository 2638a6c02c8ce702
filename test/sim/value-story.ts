/**
 * The part of a broker's simulated life that is about newest values: a queue and a topic that keep only the newest message of
 * each key. Whoever takes from them never gets an older value than the newest there is, and never misses the newest; a
 * reader of the topic that comes late gets the newest of each key once. A message without a body ends its key, and is
 * forgotten with it after a while.
 */
import type { Broker } from "../../src/broker/broker.ts";
import { type BrokerConnection, OUTCOME } from "../../src/broker/facade.ts";
import type { Policy } from "../../src/broker/policy.ts";
import { propertyText } from "../../src/model/properties.ts";
import { connect, draft, queue, topic } from "../support/test-client.ts";
import {
  makeWrite,
  NUMBER_PROPERTY,
  NumberSink,
  OwedMessages,
  readyNumbers,
  type Write,
} from "./owed-messages.ts";
import type { Story, StoryWorld } from "./story.ts";

const QUEUE = "latest";
const TOPIC = "values";
const SUBSCRIPTION = { clientId: "v", name: "sub", isShared: true, isDurable: true } as const;
const KEYS = ["x", "y", "z"] as const;
const ENDED_KEYS_MS = 120;

export class ValueStory implements Story {
  readonly policies: readonly Policy[] = [
    { match: QUEUE, settings: { isLastValue: true, endedKeysMs: ENDED_KEYS_MS } },
    { match: TOPIC, settings: { isLastValue: true, endedKeysMs: ENDED_KEYS_MS } },
  ];
  readonly #world: StoryWorld;
  readonly #queue = new OwedMessages(QUEUE, "last-value");
  readonly #subscription = new OwedMessages(`${TOPIC}@sub`, "last-value");
  /** On the scale of `settledTo`; -1 while there is no subscription. */
  #durableAt = -1;
  #isSafe = false;
  /** Of the topic, by key: the newest that was confirmed and what came after it. */
  readonly #values = new Map<string, Write[]>(KEYS.map((key) => [key, []]));
  #broker!: Broker;
  #peer!: BrokerConnection;
  #nextNumber = 1;

  constructor(world: StoryWorld) {
    this.#world = world;
  }

  owns(name: string): boolean {
    return name === QUEUE;
  }

  opened(broker: Broker): void {
    this.#broker = broker;
    this.#peer = connect(broker, "values");
    const node = broker.registry.find("queue", "/", QUEUE);
    const queued = node === undefined ? [] : readyNumbers(broker, node.ownGroup);
    this.#world.note(`${QUEUE}: ${queued}`);
    this.#queue.recovered(queued);
    this.#openedSubscription();
    this.#openedValues();
  }

  #openedSubscription(): void {
    const group = [
      ...(this.#broker.registry.find("topic", "/", TOPIC)?.groups.values() ?? []),
    ].find(({ settings }) => settings.identity?.name === SUBSCRIPTION.name);
    if (group === undefined) {
      if (this.#isSafe) throw new Error(`lost: the subscription of ${TOPIC}`);
      this.#durableAt = -1;
      this.#subscription.reset();
      return;
    }
    const owed = readyNumbers(this.#broker, group);
    this.#world.note(`${TOPIC}@sub: ${owed}`);
    this.#subscription.recovered(owed);
    this.#isSafe = true;
    this.#durableAt = 0;
  }

  #openedValues(): void {
    const found = this.#readAll();
    this.#world.note(`${TOPIC}: ${found}`);
    for (const [key, writes] of this.#values) {
      const there = writes.filter(({ number }) => found.includes(number));
      if (there.length > 1) throw new Error(`${TOPIC}: ${found}, several of ${key}`);
      const confirmed = writes.find(({ isConfirmed }) => isConfirmed);
      const mayMiss = confirmed === undefined || writes.some((write) => this.#isOver(write));
      if (there.length === 0 && !mayMiss) throw new Error(`${TOPIC}: nothing of ${key}: ${found}`);
      for (const write of there) Object.assign(write, { isConfirmed: true, position: -1 });
      this.#values.set(key, there);
    }
    const known = [...this.#values.values()].flat().map(({ number }) => number);
    const strange = found.filter((number) => !known.includes(number));
    if (strange.length > 0) throw new Error(`${TOPIC}: ${strange} invented, or long replaced`);
  }

  step(): void {
    const { random } = this.#world;
    const roll = random.below(20);
    const isQueue = random.chance(50);
    if (roll < 8) this.#publishSome(isQueue);
    else if (roll < 11) this.#join(isQueue);
    else if (roll < 16) this.#settleSome(isQueue ? this.#queue : this.#subscription);
    else if (roll < 17) this.#leave(isQueue ? this.#queue : this.#subscription);
    else if (roll < 18) this.#broker.keepHouse();
    else this.#checkValues();
  }

  turn(): void {
    this.#queue.confirm(this.#broker);
    this.#subscription.confirm(this.#broker);
    const to = this.#broker.confirmedTo("fsync");
    for (const [key, writes] of this.#values) {
      for (const write of writes) if (write.position <= to) write.isConfirmed = true;
      const last = writes.findLastIndex(({ isConfirmed }) => isConfirmed);
      this.#values.set(key, writes.slice(Math.max(0, last)));
    }
    if (this.#durableAt > 0 && this.#broker.settledTo() >= this.#durableAt) this.#isSafe = true;
  }

  crashed(): void {
    this.#queue.crashed();
    this.#subscription.crashed();
  }

  stopped(): void {
    this.#queue.stopped();
    this.#subscription.stopped();
    for (const [key, writes] of this.#values) {
      for (const write of writes) write.isConfirmed = true;
      this.#values.set(key, writes.slice(-1));
    }
    if (this.#durableAt >= 0) this.#isSafe = true;
  }

  finish(turn: () => void): void {
    this.#checkValues();
    for (const owed of [this.#queue, this.#subscription]) {
      while (owed.readerCount > 0) owed.leave(0);
      this.#join(owed === this.#queue);
      for (let i = 0; i < 10; i++) {
        owed.setCredit(0, 1000);
        turn();
        owed.settle(0, 1000, true);
      }
      owed.checkTaken();
    }
  }

  #publishSome(isQueue: boolean): void {
    const { random } = this.#world;
    const target = this.#peer.openTarget(isQueue ? queue(QUEUE) : topic(TOPIC));
    for (let i = random.between(1, 4); i > 0 && this.#broker.hasRoom(4096); i--) {
      const number = this.#nextNumber++;
      const key = random.pick(KEYS);
      const isEnd = random.chance(15);
      // A key may be in several shards of a queue.
      const priority = isQueue ? random.pick([-1, -1, 7]) : -1;
      const now = this.#broker.turn.now;
      const properties = propertyText(NUMBER_PROPERTY, String(number));
      // Before it is published: it may come at once.
      const write = makeWrite(number, now, { key, isEnd, priority });
      const copy = { ...write };
      if (isQueue) this.#queue.add(write);
      else if (this.#durableAt >= 0) {
        this.#subscription.forgetEnds((each) => each.key === key && this.#isOver(each));
        this.#subscription.add(write);
      }
      if (!isQueue) this.#values.get(key)!.push(copy);
      const position = target.publish(
        draft(isEnd ? "" : `v${number}`, { keys: key, properties, priority }),
      );
      write.position = position;
      copy.position = position;
      const what = isEnd ? `${number}, the end` : String(number);
      this.#world.note(`publish ${what} of ${key} to ${isQueue ? QUEUE : TOPIC} at ${position}`);
    }
    target.close();
  }

  #join(isQueue: boolean): void {
    const owed = isQueue ? this.#queue : this.#subscription;
    if (owed.readerCount >= 2) return;
    const { random } = this.#world;
    const credit = random.pick([1, 2, 1000]);
    this.#world.note(`reader of ${owed.name}, credit ${credit}`);
    owed.join((sink) => {
      sink.consumer = this.#peer.openConsumer(
        {
          address: isQueue ? queue(QUEUE) : topic(TOPIC),
          mode: "consume",
          preSettled: false,
          onLost: OUTCOME.RELEASE,
          ...(isQueue ? {} : { subscription: SUBSCRIPTION }),
        },
        sink,
      );
      sink.consumer.setCredit(credit);
      if (isQueue || this.#durableAt >= 0) return;
      this.#durableAt = sink.consumer.info.durableAt;
      this.#isSafe = this.#durableAt === 0;
    });
  }

  #leave(owed: OwedMessages): void {
    if (owed.readerCount === 0) return;
    this.#world.note(`a reader of ${owed.name} leaves`);
    owed.leave(this.#world.random.below(owed.readerCount));
  }

  #settleSome(owed: OwedMessages): void {
    if (owed.readerCount === 0) return;
    const { random } = this.#world;
    const index = random.below(owed.readerCount);
    const isAccepted = random.chance(65);
    const settled = owed.settle(index, random.between(1, 3), isAccepted);
    this.#world.note(`${owed.name}: ${settled} ${isAccepted ? "accepted" : "released"}`);
    owed.setCredit(index, random.pick([1, 2, 1000]));
  }

  /** Who comes late gets the newest of each key, and nothing else. */
  #checkValues(): void {
    const found = this.#readAll();
    for (const [key, writes] of this.#values) {
      const newest = writes.at(-1);
      const there = writes.filter(({ number }) => found.includes(number));
      if (there.some((write) => write !== newest)) {
        throw new Error(`${TOPIC}: ${found} has an older one of ${key} than ${newest?.number}`);
      }
      if (newest === undefined || there.length > 0 || this.#isOver(newest)) continue;
      throw new Error(`${TOPIC}: ${found} does not have ${newest.number} of ${key}`);
    }
    const known = [...this.#values.values()].flat().map(({ number }) => number);
    const strange = found.filter((number) => !known.includes(number));
    if (strange.length > 0) throw new Error(`${TOPIC}: ${strange} invented, or long replaced`);
  }

  #isOver({ isEnd, at }: Write): boolean {
    return isEnd && at + ENDED_KEYS_MS <= this.#broker.turn.now;
  }

  #readAll(): number[] {
    if (this.#broker.registry.find("topic", "/", TOPIC) === undefined) return [];
    const sink = new NumberSink();
    sink.consumer = this.#peer.openConsumer(
      {
        address: topic(TOPIC),
        mode: "consume",
        preSettled: true,
        from: { kind: "first" },
        onLost: OUTCOME.RELEASE,
      },
      sink,
    );
    sink.consumer.setCredit(1000);
    this.#world.clock.run();
    sink.consumer.close(OUTCOME.RELEASE);
    return sink.numbers;
  }
}
