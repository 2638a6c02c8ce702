/**
 * The part of a broker's simulated life that is about a topic with several shards: members of one durable subscription come
 * and go, messages of a key are worked on in order and by one member at a time, and each is owed until it was taken. The
 * number of shards grows from one life to the next.
 */
import type { Broker } from "../../src/broker/broker.ts";
import { type BrokerConnection, OUTCOME } from "../../src/broker/facade.ts";
import type { Policy } from "../../src/broker/policy.ts";
import { propertyText } from "../../src/model/properties.ts";
import { connect, draft, topic } from "../support/test-client.ts";
import { makeWrite, NUMBER_PROPERTY, OwedMessages, readyNumbers } from "./owed-messages.ts";
import type { Story, StoryWorld } from "./story.ts";

const TOPIC = "sharded";
const SUBSCRIPTION = { clientId: "", name: "workers", isShared: true, isDurable: true } as const;
const KEYS = ["a", "b", "c", "d", "e"] as const;
const MOST_SHARDS = 5;

export class ShardStory implements Story {
  readonly #world: StoryWorld;
  readonly #owed = new OwedMessages(`${TOPIC}@workers`, "keyed");
  #shards = 1;
  /** On the scale of `settledTo`; -1 while there is no subscription. */
  #durableAt = -1;
  #isSafe = false;
  #broker!: Broker;
  #peer!: BrokerConnection;
  #nextNumber = 1;

  constructor(world: StoryWorld) {
    this.#world = world;
  }

  get policies(): readonly Policy[] {
    return [{ match: TOPIC, kind: "topic", settings: { shards: this.#shards } }];
  }

  owns(): boolean {
    return false;
  }

  opened(broker: Broker): void {
    this.#broker = broker;
    this.#peer = connect(broker, "shards");
    const node = broker.registry.find("topic", "/", TOPIC);
    const group = [...(node?.groups.values() ?? [])].find(({ isDurable }) => isDurable);
    if (group === undefined) {
      if (this.#isSafe) throw new Error(`lost: the subscription of ${TOPIC}`);
      this.#durableAt = -1;
      this.#owed.reset();
      return;
    }
    const found = readyNumbers(broker, group);
    this.#world.note(`${this.#owed.name}: ${found} in ${node!.shards.length} shards`);
    this.#owed.recovered(found);
    this.#isSafe = true;
    this.#durableAt = 0;
  }

  step(): void {
    const { random } = this.#world;
    const roll = random.below(20);
    if (roll < 7) this.#publishSome();
    else if (roll < 10) this.#join();
    else if (roll < 17) this.#settleSome();
    else if (this.#owed.readerCount > 0) this.#owed.leave(random.below(this.#owed.readerCount));
  }

  turn(): void {
    this.#owed.confirm(this.#broker);
    if (this.#durableAt > 0 && this.#broker.settledTo() >= this.#durableAt) this.#isSafe = true;
  }

  crashed(): void {
    this.#owed.crashed();
    this.#grow();
  }

  stopped(): void {
    this.#owed.stopped();
    if (this.#durableAt >= 0) this.#isSafe = true;
    this.#grow();
  }

  finish(turn: () => void): void {
    while (this.#owed.readerCount > 0) this.#owed.leave(0);
    this.#join();
    for (let i = 0; i < 20; i++) {
      this.#owed.setCredit(0, 1000);
      turn();
      this.#owed.settle(0, 1000, true);
    }
    this.#owed.checkTaken();
  }

  /** Where nothing waits: a key moves to another shard then, and what lies in two is in no order. */
  #grow(): void {
    if (this.#owed.writes.some(({ isAckConfirmed }) => !isAckConfirmed)) return;
    this.#shards = Math.min(MOST_SHARDS, this.#shards + this.#world.random.below(3));
  }

  #publishSome(): void {
    const { random } = this.#world;
    const target = this.#peer.openTarget(topic(TOPIC));
    for (let i = random.between(1, 6); i > 0 && this.#broker.hasRoom(4096); i--) {
      const number = this.#nextNumber++;
      const key = random.pick(KEYS);
      const write = makeWrite(number, this.#broker.turn.now, { key });
      if (this.#durableAt >= 0) this.#owed.add(write);
      const properties = propertyText(NUMBER_PROPERTY, String(number));
      write.position = target.publish(draft("s", { group: key, properties }));
      this.#world.note(`publish ${number} of ${key} to ${TOPIC} at ${write.position}`);
    }
    target.close();
  }

  #join(): void {
    if (this.#owed.readerCount >= 4) return;
    const credit = this.#world.random.pick([1, 3, 1000]);
    this.#world.note(`reader of ${this.#owed.name}, credit ${credit}`);
    this.#owed.join((sink) => {
      sink.consumer = this.#peer.openConsumer(
        {
          address: topic(TOPIC),
          mode: "consume",
          preSettled: false,
          subscription: SUBSCRIPTION,
          onLost: OUTCOME.RELEASE,
        },
        sink,
      );
      sink.consumer.setCredit(credit);
      if (this.#durableAt >= 0) return;
      this.#durableAt = sink.consumer.info.durableAt;
      this.#isSafe = this.#durableAt === 0;
    });
  }

  #settleSome(): void {
    if (this.#owed.readerCount === 0) return;
    const { random } = this.#world;
    const index = random.below(this.#owed.readerCount);
    const isAccepted = random.chance(75);
    const settled = this.#owed.settle(index, random.between(1, 5), isAccepted);
    this.#world.note(`${TOPIC}: ${settled} ${isAccepted ? "accepted" : "released"}`);
    this.#owed.setCredit(index, random.pick([1, 3, 1000]));
  }
}
