/** Messages through one queue and through 10,000, in process: publish, log, dispatch, settle, with the real store at fsync. */
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
const MESSAGES = 300_000;
const WARM_UP = 50_000;
const MANY = 10_000;

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
    this.consumer.setCredit(1000);
  }
  onDrained(): void {}
  onCancel(): void {}
}

export interface Load {
  readonly messages: number;
  /** Neighbouring messages to one queue before it is the next one's turn. */
  readonly burst: number;
  /** After the warm-up. */
  readonly onWarm?: () => Promise<void>;
}

/** Messages a second and microseconds of CPU a message, with as many queues in turn. */
export async function through(
  broker: Broker,
  turn: Turn,
  queues: number,
  { messages, burst, onWarm }: Load,
): Promise<{ rate: number; micros: number }> {
  const peer = connectTo(broker);
  let received = 0;
  const targets: Target[] = [];
  for (let i = 0; i < queues; i++) {
    const address = makeAddress("queue", `busy-${queues}-${i}`);
    const sink = new Sink((more) => {
      received += more;
    });
    sink.consumer = peer.openConsumer(
      { address, mode: "consume", preSettled: false, onLost: OUTCOME.RELEASE },
      sink,
    );
    sink.consumer.setCredit(1000);
    targets.push(peer.openTarget(address));
  }
  const draft = new Draft();
  draft.bytes = Buffer.alloc(BYTES, 0x61);
  draft.end = BYTES;
  draft.encoding = ENCODING.AMQP1;
  const positions = new Float64Array(4096);
  let sent = 0;
  let confirmed = 0;
  const run = (total: number): Promise<void> =>
    new Promise((resolve) => {
      let isWaiting = false;
      let isStepping = false;
      const step = (): void => {
        isStepping = false;
        turn.touch();
        for (let i = 0; i < BATCH && sent < total && sent - confirmed < WINDOW; i++) {
          positions[sent & 4095] = targets[Math.floor(sent / burst) % queues]!.publish(draft);
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
  await run(WARM_UP);
  await onWarm?.();
  const cpu = process.cpuUsage();
  const began = performance.now();
  await run(WARM_UP + messages);
  const used = process.cpuUsage(cpu);
  const seconds = (performance.now() - began) / 1000;
  peer.close();
  return { rate: Math.round(messages / seconds), micros: (used.user + used.system) / messages };
}

export async function busy(broker: Broker, turn: Turn): Promise<Record<string, number>> {
  const facts: Record<string, number> = {};
  for (const queues of [1, MANY, 1, MANY]) {
    const { rate, micros } = await through(broker, turn, queues, { messages: MESSAGES, burst: 1 });
    // The better of two runs each: the machine has other work.
    const label = queues === 1 ? "one" : "many";
    facts[`${label}Rate`] = Math.max(facts[`${label}Rate`] ?? 0, rate);
    const best = Math.min(facts[`${label}Micros`] ?? Number.POSITIVE_INFINITY, micros);
    facts[`${label}Micros`] = Number(best.toFixed(2));
  }
  return facts;
}
