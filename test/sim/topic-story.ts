/**
 * The part of a broker's simulated life that is about a topic with durable subscriptions: they come into being at any time,
 * each gets what is published after that, acknowledges or gives back, and survives what its queue-like neighbours survive. A
 * message of a subscription is `TEXT@NAME` in the model, its queue `news@NAME`. A subscription that was not yet said to be
 * safe may be gone after a crash, with everything it would have got.
 */
import type { Broker } from "../../src/broker/broker.ts";
import { type BrokerConnection, OUTCOME } from "../../src/broker/facade.ts";
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import type { MessageStore } from "../../src/store/message-store.ts";
import type { Random } from "../support/random.ts";
import { Collector, connect, draft, topic } from "../support/test-client.ts";
import type { BrokerModel, ModelMessage } from "./broker-model.ts";

const TOPIC = "news";
const NAMES = ["one", "two"] as const;
const PLAIN = { priority: -1, key: "", expiresAt: 0, deliverAt: 0, transaction: 0 };

export const isOfTopic = ({ queue }: ModelMessage): boolean => queue.startsWith(`${TOPIC}@`);

interface Subscription {
  readonly name: string;
  /** On the scale of `settledTo`. */
  durableAt: number;
  isSafe: boolean;
  reader: Collector | null;
  /** Deliveries that were looked at, and those still held, by number. */
  seen: number;
  readonly held: Map<number, ModelMessage>;
}

export class TopicStory {
  readonly #random: Random;
  readonly #model: BrokerModel;
  readonly #note: (line: string) => void;
  readonly #subscriptions = new Map<string, Subscription>();
  #broker!: Broker;
  #peer!: BrokerConnection;
  #nextText = 0;
  #mayOvertake = false;

  constructor(random: Random, model: BrokerModel, note: (line: string) => void) {
    this.#random = random;
    this.#model = model;
    this.#note = note;
  }

  /** Before the model compares: which subscriptions have survived. */
  opened(broker: Broker): void {
    this.#broker = broker;
    this.#peer = connect(broker, "topics");
    for (const subscription of [...this.#subscriptions.values()]) {
      const { name, isSafe } = subscription;
      const isThere = this.#group(name) !== undefined;
      if (!isThere && isSafe) throw new Error(`lost: subscription ${name}`);
      if (!isThere) this.#subscriptions.delete(name);
      subscription.isSafe = true;
    }
  }

  crashed(): void {
    for (const subscription of this.#subscriptions.values()) {
      subscription.reader = null;
      subscription.held.clear();
      if (subscription.isSafe) continue;
      for (const message of this.#model.messages.values()) {
        if (message.queue === queueOf(subscription.name)) message.mayVanish = true;
      }
    }
  }

  step(): void {
    const roll = this.#random.below(10);
    if (roll < 4) this.#publishSome();
    else if (roll < 6) this.#subscribe(this.#random.pick(NAMES));
    else if (roll < 9) this.#settleSome();
    else this.#leave();
  }

  /** `mayOvertake`: the disk does not give everything in time. */
  turn(mayOvertake = false): void {
    this.#mayOvertake = mayOvertake;
    this.#look();
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.isSafe || this.#broker.settledTo() < subscription.durableAt) continue;
      subscription.isSafe = true;
      this.#note(`subscription ${subscription.name} is safe`);
    }
  }

  /** What each subscription owes, in order. */
  contents(store: MessageStore): Map<string, string[]> {
    const found = new Map<string, string[]>();
    const view = new RecordView();
    const entry = entryBatch();
    for (const name of this.#subscriptions.keys()) {
      const texts: string[] = [];
      for (const { state, queue } of this.#group(name)?.shards ?? []) {
        const end = queue.maxOffset;
        for (let at = state.findReady(state.low, end); at < end; ) {
          const isThere =
            store.read(queue, at, 1, entry) === 1 &&
            store.view(entry.physicalOffset[0]!, entry.size[0]!, view);
          const text = isThere && view.buffer.toString("utf8", view.bodyStart, view.bodyEnd);
          if (isThere) texts.push(`${text}@${name}`);
          at = state.findReady(at + 1, end);
        }
      }
      found.set(queueOf(name), texts);
    }
    return found;
  }

  /** In the end everything that is owed comes out. */
  drain(turn: () => void): void {
    for (const { name } of [...this.#subscriptions.values()]) {
      this.#subscribe(name);
      const subscription = this.#subscriptions.get(name)!;
      for (let i = 0; i < 50; i++) {
        subscription.reader!.consumer.setCredit(100_000);
        turn();
        this.#settle(subscription, 0, subscription.seen - 1, true);
      }
    }
    for (const message of this.#model.messages.values()) {
      if (!isOfTopic(message) || message.isAcked || message.mayVanish) continue;
      if (message.isConfirmed) throw new Error(`lost: '${message.text}' never came`);
    }
  }

  #group(name: string) {
    const node = this.#broker.registry.find("topic", "/", TOPIC);
    return [...(node?.groups.values() ?? [])].find(
      (group) => group.settings.identity?.name === name,
    );
  }

  #publishSome(): void {
    const target = this.#peer.openTarget(topic(TOPIC));
    for (let i = this.#random.between(1, 5); i > 0 && this.#broker.hasRoom(4096); i--) {
      const text = `t${this.#nextText++}`;
      const copies = [...this.#subscriptions.values()].map((subscription) => {
        const copy = this.#model.add(
          `${text}@${subscription.name}`,
          queueOf(subscription.name),
          PLAIN,
        );
        return copy;
      });
      const position = target.publish(draft(text));
      this.#note(`publish ${text} to ${copies.length} subscriptions`);
      // Nobody wants it: there is nothing to confirm.
      for (const copy of copies) copy.position = position;
    }
    target.close();
  }

  #subscribe(name: string): void {
    const known = this.#subscriptions.get(name);
    if (known?.reader != null) return;
    const reader = new Collector();
    reader.consumer = this.#peer.openConsumer(
      {
        address: topic(TOPIC),
        mode: "consume",
        preSettled: false,
        subscription: { clientId: "s", name, isShared: false, isDurable: true },
        onLost: OUTCOME.RELEASE,
      },
      reader,
    );
    const { durableAt } = reader.consumer.info;
    const subscription = known ?? {
      name,
      durableAt,
      isSafe: durableAt === 0,
      reader,
      seen: 0,
      held: new Map(),
    };
    subscription.reader = reader;
    subscription.seen = 0;
    this.#subscriptions.set(name, subscription);
    this.#note(`subscribe ${name}, safe at ${durableAt}`);
    reader.consumer.setCredit(this.#random.pick([2, 1000]));
  }

  /** Takes note of what was delivered. */
  #look(): void {
    for (const subscription of this.#subscriptions.values()) {
      const { reader, name, held } = subscription;
      if (reader === null) continue;
      for (const { text, number } of reader.received.slice(subscription.seen)) {
        const copy = this.#model.delivered(`${text}@${name}`, queueOf(name), this.#broker.turn.now);
        for (const older of this.#model.messages.values()) {
          if (older.number >= copy.number || this.#mayOvertake) break;
          const isReady = older.holders === 0 && !older.isAcked && !older.mayVanish;
          if (older.queue === copy.queue && isReady) {
            throw new Error(`order: '${copy.text}' overtook '${older.text}'`);
          }
        }
        held.set(number, copy);
        this.#note(`  ${copy.text}`);
      }
      subscription.seen = reader.received.length;
    }
  }

  #settleSome(): void {
    this.#look();
    const holding = [...this.#subscriptions.values()].filter(({ held }) => held.size > 0);
    if (holding.length === 0) return;
    const subscription = this.#random.pick(holding);
    const first = this.#random.pick([...subscription.held.keys()]);
    this.#settle(subscription, first, first + this.#random.below(4), this.#random.chance(70));
  }

  #settle(subscription: Subscription, first: number, last: number, isAccepted: boolean): void {
    const { reader, held } = subscription;
    if (reader === null || last < first) return;
    const taken = [...held].filter(([number]) => number >= first && number <= last);
    for (const [number, copy] of taken) {
      held.delete(number);
      copy.holders--;
      copy.isAcked = isAccepted;
    }
    const outcome = isAccepted ? OUTCOME.ACCEPT : OUTCOME.RELEASE;
    const position = reader.consumer.settle(first, last, outcome);
    if (isAccepted) for (const [, copy] of taken) copy.ackPosition = position;
  }

  #leave(): void {
    const open = [...this.#subscriptions.values()].filter(({ reader }) => reader !== null);
    if (open.length === 0) return;
    this.#look();
    const subscription = this.#random.pick(open);
    for (const copy of subscription.held.values()) copy.holders--;
    subscription.held.clear();
    subscription.reader!.consumer.close(OUTCOME.RELEASE);
    subscription.reader = null;
    this.#note(`${subscription.name} leaves`);
  }
}

const queueOf = (name: string): string => `${TOPIC}@${name}`;
