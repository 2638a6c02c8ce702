/**
 * Messages through one queue and through many, in process: publish, log, dispatch, settle, with the real store at fsync.
 *
 * As many producers and consumers as there are links, on as many queues as are told: link i is on queue i mod `queues`. Of
 * each 64 messages handed over together, every `burst` go to one link and the next to the next. So runs with the same links
 * and bursts differ in nothing but the number of queues.
 */
import type { Broker } from "../../src/broker/broker.ts";
import type { Consumer, DeliveryRun, DeliverySink, Target } from "../../src/broker/facade.ts";
import { OUTCOME } from "../../src/broker/facade.ts";
import { makeAddress } from "../../src/model/address.ts";
import { Draft } from "../../src/model/draft.ts";
import { ENCODING } from "../../src/model/record-view.ts";
import type { Turn } from "../../src/util/turn.ts";
import { connectTo } from "./kinds.ts";

const BYTES = 1024;
const BATCH = 64;
const WINDOW = 2000;
const WARM_UP = 50_000;
const CREDIT = 1000;

class Sink implements DeliverySink {
  consumer!: Consumer;
  readonly #count: (received: number) => void;
  constructor(count: (received: number) => void) {
    this.#count = count;
  }
  isReady(): boolean {
    return true;
  }
  deliver(run: DeliveryRun): void {
    this.#count(run.count);
    this.consumer.settle(run.firstDelivery, run.firstDelivery + run.count - 1, OUTCOME.ACCEPT);
    this.consumer.setCredit(CREDIT);
  }
  onDrained(): void {}
  onCancel(): void {}
}

/** Names, links and queues of the loads of which the last two differ in nothing but the number of queues. */
export const shapesOf = (
  many: number,
): ReadonlyArray<readonly [name: string, links: number, queues: number]> => [
  ["OneLinkOneQueue", 1, 1],
  ["ManyLinksOneQueue", many, 1],
  ["ManyLinksManyQueues", many, many],
];

export interface Load {
  readonly links: number;
  readonly queues: number;
  readonly messages: number;
  /** Neighbouring messages to one link before it is the next one's turn. */
  readonly burst: number;
  /** How often to measure: the best counts, the machine may have other work. */
  readonly times: number;
  /** After the warm-up. */
  readonly onWarm?: () => Promise<void>;
}

/** Messages a second, and microseconds of CPU of all threads a message. */
export interface Flow {
  readonly rate: number;
  readonly micros: number;
}

export async function through(broker: Broker, turn: Turn, load: Load): Promise<Flow> {
  const { links, queues, messages, burst, times, onWarm } = load;
  const peer = connectTo(broker);
  let received = 0;
  const count = (more: number): void => {
    received += more;
  };
  const targets: Target[] = [];
  for (let i = 0; i < links; i++) {
    const address = makeAddress("queue", `busy-${i % queues}`);
    const sink = new Sink(count);
    sink.consumer = peer.openConsumer(
      { address, mode: "consume", preSettled: false, onLost: OUTCOME.RELEASE },
      sink,
    );
    sink.consumer.setCredit(CREDIT);
    targets.push(peer.openTarget(address));
  }
  const draft = new Draft();
  draft.bytes = Buffer.alloc(BYTES, 0x61);
  draft.end = BYTES;
  draft.encoding = ENCODING.AMQP1;
  const positions = new Float64Array(4096);
  let sent = 0;
  let confirmed = 0;
  const run = (more: number): Promise<void> => {
    const total = sent + more;
    return new Promise((resolve) => {
      let isWaiting = false;
      let isStepping = false;
      const step = (): void => {
        isStepping = false;
        turn.touch();
        for (let i = 0; i < BATCH && sent < total && sent - confirmed < WINDOW; i++) {
          positions[sent & 4095] = targets[Math.floor(sent / burst) % links]!.publish(draft);
          sent++;
        }
        if (!isWaiting && sent > confirmed) {
          isWaiting = true;
          broker.awaitConfirm({ onConfirm: confirm });
        }
        if (received >= total && confirmed >= total) resolve();
        // With a full window it waits for confirms, as a client does.
        else if (sent < total ? sent - confirmed < WINDOW : confirmed >= total) next();
      };
      const next = (): void => {
        if (isStepping) return;
        isStepping = true;
        setImmediate(step);
      };
      const confirm = (): boolean => {
        const to = broker.confirmedTo("fsync");
        while (confirmed < sent && positions[confirmed & 4095]! <= to) confirmed++;
        isWaiting = confirmed < sent;
        next();
        return isWaiting;
      };
      next();
    });
  };
  await run(WARM_UP);
  await onWarm?.();
  let rate = 0;
  let micros = Number.POSITIVE_INFINITY;
  for (let time = 0; time < times; time++) {
    const cpu = process.cpuUsage();
    const began = performance.now();
    await run(messages);
    const used = process.cpuUsage(cpu);
    rate = Math.max(rate, (messages * 1000) / (performance.now() - began));
    micros = Math.min(micros, (used.user + used.system) / messages);
  }
  peer.close();
  return { rate: Math.round(rate), micros: Number(micros.toFixed(2)) };
}
