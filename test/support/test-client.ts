/** A peer of the broker without a protocol: publishes texts, collects deliveries. */
import type {
  BrokerConnection,
  BrokerFacade,
  ConnectRequest,
  Consumer,
  ConsumerRequest,
  DeliveryRun,
  DeliverySink,
} from "../../src/broker/facade.ts";
import { OUTCOME } from "../../src/broker/facade.ts";
import { type Address, makeAddress } from "../../src/model/address.ts";
import { Draft } from "../../src/model/draft.ts";
import type { BrokerError } from "../../src/model/errors.ts";
import { ANONYMOUS } from "../../src/security/principal.ts";

export function connect(
  broker: BrokerFacade,
  clientId = "",
  more: Partial<ConnectRequest> = {},
): BrokerConnection {
  return broker.connect({
    protocol: "test",
    remoteAddress: "127.0.0.1",
    remotePort: 1,
    principal: ANONYMOUS,
    clientId,
    namespace: "/",
    clientIdPolicy: "coexist",
    close() {},
    ...more,
  });
}

export const queue = (name: string): Address => makeAddress("queue", name);
export const topic = (name: string): Address => makeAddress("topic", name);

export function draft(text: string, fields: Partial<Draft> = {}): Draft {
  const made = new Draft();
  made.bytes = Buffer.from(text);
  made.end = made.bytes.length;
  return Object.assign(made, fields);
}

export interface Received {
  readonly text: string;
  readonly number: number;
  readonly offset: number;
  readonly deliveryCount: number;
  readonly isRedelivered: boolean;
}

export class Collector implements DeliverySink {
  readonly received: Received[] = [];
  isOpen = true;
  drained = 0;
  cancelled: BrokerError | null = null;
  consumer!: Consumer;

  isReady(): boolean {
    return this.isOpen;
  }
  deliver(run: DeliveryRun): void {
    for (let i = 0; i < run.count; i++) {
      const record = run.record(i);
      this.received.push({
        text: record.buffer.toString("utf8", record.bodyStart, record.bodyEnd),
        number: run.firstDelivery + i,
        offset: run.queueOffset(i),
        deliveryCount: run.deliveryCount(i),
        isRedelivered: run.isRedelivered(i),
      });
    }
  }
  onDrained(): void {
    this.drained++;
  }
  onCancel(reason: BrokerError): void {
    this.cancelled = reason;
  }

  get texts(): string[] {
    return this.received.map((message) => message.text);
  }
}

export function consume(
  connection: BrokerConnection,
  address: Address,
  options: Partial<ConsumerRequest> & { credit?: number } = {},
): Collector {
  const { credit = 1000, ...request } = options;
  const sink = new Collector();
  sink.consumer = connection.openConsumer(
    { address, mode: "consume", preSettled: false, onLost: OUTCOME.RELEASE, ...request },
    sink,
  );
  sink.consumer.setCredit(credit);
  return sink;
}

/** Two rounds of the event loop: a turn and what it set off. */
export async function settle(rounds = 4): Promise<void> {
  for (let i = 0; i < rounds; i++) await new Promise((resolve) => setImmediate(resolve));
}
