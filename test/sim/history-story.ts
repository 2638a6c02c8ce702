/**
 * The part of a broker's simulated life that is about the history of topics: kept by number, by age or by size, read again from
 * its beginning, its end, an offset or a time. What is kept is one run of what was published, as long as was promised; a
 * group owed more than that gets more. Only a disk without space may cost what nobody is owed.
 */
import type { Broker } from "../../src/broker/broker.ts";
import { type BrokerConnection, OUTCOME, type StartPosition } from "../../src/broker/facade.ts";
import type { Policy } from "../../src/broker/policy.ts";
import { propertyText } from "../../src/model/properties.ts";
import { connect, draft, topic } from "../support/test-client.ts";
import {
  makeWrite,
  NUMBER_PROPERTY,
  NumberSink,
  OwedMessages,
  readyNumbers,
  storedAt,
  type Write,
} from "./owed-messages.ts";
import type { Story, StoryWorld } from "./story.ts";

const COUNT = 6;
const AGE_MS = 100;
const BYTES = 2500;
const TOPICS = ["by-count", "by-age", "by-size"] as const;
type Topic = (typeof TOPICS)[number];
/** The group is on this one. */
const READ_BY_GROUP: Topic = "by-count";
const NEVER = Number.POSITIVE_INFINITY;
const GROUP = "readers";

export class HistoryStory implements Story {
  readonly policies: readonly Policy[] = [
    { match: "by-count", settings: { historyCount: COUNT } },
    { match: "by-age", settings: { historyMs: AGE_MS } },
    { match: "by-size", settings: { historyBytes: BYTES } },
  ];
  readonly #world: StoryWorld;
  readonly #writes = new Map<Topic, Write[]>(TOPICS.map((name) => [name, []]));
  readonly #group = new OwedMessages(`${READ_BY_GROUP}#${GROUP}`, "all");
  #durableAt = -1;
  #isSafe = false;
  #broker!: Broker;
  #peer!: BrokerConnection;
  #nextNumber = 1;
  /** Of what was read last. */
  #offsets: readonly number[] = [];

  constructor(world: StoryWorld) {
    this.#world = world;
  }

  owns(): boolean {
    return false;
  }

  opened(broker: Broker): void {
    this.#broker = broker;
    this.#peer = connect(broker, "history");
    broker.onBlocked(() => this.#noteShortage());
    for (const [name, writes] of this.#writes) {
      const found = this.#read(name, { kind: "first" });
      this.#world.note(`${name}: ${found}`);
      this.#checkRun(name, found, (write) => write.isConfirmed);
      for (const write of writes) {
        // What was given back may be there again after a crash, until it is given back anew.
        const isThere = found.includes(write.number);
        Object.assign(write, {
          isConfirmed: isThere,
          isGone: !isThere,
          position: isThere ? -1 : NEVER,
        });
      }
    }
    const group = this.#findGroup();
    if (group === undefined) {
      if (this.#isSafe) throw new Error(`lost: group ${GROUP}`);
      this.#durableAt = -1;
      this.#group.reset();
      return;
    }
    const owed = readyNumbers(broker, group);
    this.#world.note(`${this.#group.name}: ${owed}`);
    this.#group.recovered(owed);
    this.#isSafe = true;
    this.#durableAt = 0;
  }

  step(): void {
    this.#noteShortage();
    const { random, clock } = this.#world;
    const roll = random.below(20);
    if (roll < 8) this.#publishSome(random.pick(TOPICS));
    else if (roll < 12) this.#check(random.pick(TOPICS));
    else if (roll < 14) this.#join();
    else if (roll < 17) this.#settleSome();
    else if (roll < 18) clock.advance(random.pick([5, 40, 120]));
    else if (roll < 19) this.#keepHouse();
    else if (this.#group.readerCount > 0) this.#group.leave(random.below(this.#group.readerCount));
  }

  turn(): void {
    this.#group.confirm(this.#broker);
    const to = this.#broker.confirmedTo("fsync");
    for (const write of [...this.#writes.values()].flat()) {
      if (write.position <= to) write.isConfirmed = true;
    }
    if (this.#durableAt > 0 && this.#broker.settledTo() >= this.#durableAt) this.#isSafe = true;
  }

  crashed(): void {
    this.#group.crashed();
  }

  stopped(): void {
    this.#group.stopped();
    for (const write of [...this.#writes.values()].flat()) write.isConfirmed = true;
    if (this.#durableAt >= 0) this.#isSafe = true;
  }

  finish(turn: () => void): void {
    for (const name of TOPICS) this.#check(name);
    while (this.#group.readerCount > 0) this.#group.leave(0);
    this.#join();
    for (let i = 0; i < 10; i++) {
      this.#group.setCredit(0, 1000);
      turn();
      this.#group.settle(0, 1000, true);
    }
    this.#group.checkTaken();
  }

  /** Without space history goes, and what is owed stays. */
  #noteShortage(): void {
    if (this.#broker.blocked === null) return;
    for (const write of [...this.#writes.values()].flat()) write.mayVanish = true;
  }

  #findGroup() {
    const node = this.#broker.registry.find("topic", "/", READ_BY_GROUP);
    return [...(node?.groups.values() ?? [])].find(({ isDurable }) => isDurable);
  }

  #publishSome(name: Topic): void {
    const { random } = this.#world;
    const target = this.#peer.openTarget(topic(name));
    for (let i = random.between(1, 5); i > 0 && this.#broker.hasRoom(4096); i--) {
      const number = this.#nextNumber++;
      const write = makeWrite(number, this.#broker.turn.now);
      const copy = { ...write };
      this.#writes.get(name)!.push(write);
      if (name === READ_BY_GROUP && this.#durableAt >= 0) this.#group.add(copy);
      const properties = propertyText(NUMBER_PROPERTY, String(number));
      const position = target.publish(draft("h".repeat(random.between(1, 400)), { properties }));
      write.position = position;
      write.at = storedAt(this.#broker, position);
      copy.position = position;
      this.#world.note(`publish ${number} to ${name} at ${position}`);
    }
    target.close();
  }

  #join(): void {
    if (this.#group.readerCount >= 2) return;
    const { random } = this.#world;
    const isNew = this.#durableAt < 0;
    const before = isNew ? this.#read(READ_BY_GROUP, { kind: "first" }) : [];
    this.#world.note(`reader of ${this.#group.name}`);
    this.#group.join((sink) => {
      if (isNew) {
        for (const write of this.#writes.get(READ_BY_GROUP)!) {
          if (before.includes(write.number)) this.#group.add({ ...write });
        }
      }
      sink.consumer = this.#peer.openConsumer(
        {
          address: topic(READ_BY_GROUP),
          mode: "consume",
          preSettled: false,
          group: { name: GROUP, mode: "clustering" },
          from: { kind: "first" },
          onLost: OUTCOME.RELEASE,
        },
        sink,
      );
      sink.consumer.setCredit(random.pick([1, 3, 1000]));
      if (isNew) this.#durableAt = sink.consumer.info.durableAt;
      if (this.#durableAt === 0) this.#isSafe = true;
    });
  }

  #settleSome(): void {
    if (this.#group.readerCount === 0) return;
    const { random } = this.#world;
    const index = random.below(this.#group.readerCount);
    const isAccepted = random.chance(70);
    const settled = this.#group.settle(index, random.between(1, 5), isAccepted);
    this.#world.note(`${GROUP}: ${settled} ${isAccepted ? "accepted" : "released"}`);
    this.#group.setCredit(index, random.pick([1, 3, 1000]));
  }

  /** After enough rounds no history is longer than it may be, but for what is owed. */
  #keepHouse(): void {
    for (let i = 0; i < 10; i++) {
      this.#broker.keepHouse();
      this.#world.clock.run();
    }
    const { now } = this.#broker.turn;
    for (const [name, writes] of this.#writes) {
      const found = this.#read(name, { kind: "first" });
      const oldest = writes.find(({ number }) => number === found[0]);
      if (name === "by-age" && oldest !== undefined && oldest.at < now - AGE_MS) {
        throw new Error(`${name}: ${oldest.number} is ${now - oldest.at} ms old`);
      }
      const isOwed = name === READ_BY_GROUP && this.#durableAt >= 0;
      if (name === "by-count" && !isOwed && found.length > COUNT) {
        throw new Error(`${name}: ${found} are more than ${COUNT}`);
      }
      const bytes = this.#broker.registry.find("topic", "/", name)?.storedBytes ?? 0;
      if (name === "by-size" && bytes > BYTES) throw new Error(`${name}: ${bytes} bytes`);
    }
  }

  /** Reads from everywhere; all of it agrees. */
  #check(name: Topic): void {
    const { random } = this.#world;
    const node = this.#broker.registry.find("topic", "/", name);
    if (node === undefined) return;
    const writes = this.#writes.get(name)!;
    const all = this.#read(name, { kind: "first" });
    const offsets = this.#offsets;
    this.#same(name, "last", this.#read(name, { kind: "last" }), all.slice(-1));
    this.#same(name, "next", this.#read(name, { kind: "next" }), []);
    this.#checkRun(name, all, () => true);
    const { minOffset, maxOffset } = node.shards[0]!;
    const offset = random.between(Math.max(0, minOffset - 1), maxOffset + 1);
    const fromOffset = all.filter((_, index) => offsets[index]! >= offset);
    this.#same(name, `offset ${offset}`, this.#read(name, { kind: "offset", offset }), fromOffset);
    if (all.length === 0) return;
    const picked = random.pick(all);
    const mark = writes.find(({ number }) => number === picked)!;
    const timestampMs = mark.at + random.below(2);
    const since = writes.filter(({ number, at }) => all.includes(number) && at >= timestampMs);
    this.#same(
      name,
      `time ${timestampMs}`,
      this.#read(name, { kind: "time", timestampMs }),
      since.map(({ number }) => number),
    );
  }

  #same(name: string, what: string, found: readonly number[], expected: readonly number[]): void {
    if (found.join() === expected.join()) return;
    throw new Error(`${name} from ${what}: ${found} instead of ${expected}`);
  }

  /** One run of what was published, up to its end, which no limit has cut too short. */
  #checkRun(name: Topic, found: readonly number[], mustBe: (write: Write) => boolean): void {
    const writes = this.#writes.get(name)!;
    const there = writes.filter(({ number }) => found.includes(number));
    this.#same(
      name,
      "first",
      found,
      there.map(({ number }) => number),
    );
    const { now } = this.#broker.turn;
    const least = name === "by-count" ? COUNT : name === "by-age" ? writes.length : 1;
    for (const write of writes.slice(-least)) {
      const isExcused = write.mayVanish || write.isGone;
      if (found.includes(write.number) || isExcused || !mustBe(write)) continue;
      if (name === "by-age" && write.at < now - AGE_MS) continue;
      throw new Error(`lost: ${name} ${write.number}, there is ${found}`);
    }
    const first = writes.findIndex(({ number }) => number === found[0]);
    const gap = writes.slice(Math.max(0, first)).find((write) => {
      return mustBe(write) && !write.isGone && !found.includes(write.number);
    });
    if (gap !== undefined && found.length > 0)
      throw new Error(`${name}: ${gap.number} is missing in ${found}`);
  }

  #read(name: Topic, from: StartPosition): number[] {
    if (this.#broker.registry.find("topic", "/", name) === undefined) return [];
    const sink = new NumberSink();
    sink.consumer = this.#peer.openConsumer(
      {
        address: topic(name),
        mode: "consume",
        preSettled: true,
        from,
        onLost: OUTCOME.RELEASE,
      },
      sink,
    );
    sink.consumer.setCredit(1000);
    this.#world.clock.run();
    sink.consumer.close(OUTCOME.RELEASE);
    this.#offsets = sink.received.map((received) => received.offset);
    return sink.numbers;
  }
}
