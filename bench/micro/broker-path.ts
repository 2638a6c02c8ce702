/**
 * The path of a message without sockets and codecs: publish, log, dispatch, settle, with the real store at fsync.
 * `node dist/bench/micro/broker-path.js [bytes] [messages] [batch]`: microseconds of CPU (all threads) per message.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Consumer, DeliveryRun, DeliverySink } from "../../src/broker/facade.ts";
import { OUTCOME } from "../../src/broker/facade.ts";
import { makeAddress } from "../../src/model/address.ts";
import { Draft } from "../../src/model/draft.ts";
import { ENCODING } from "../../src/model/record-view.ts";
import { ANONYMOUS } from "../../src/security/principal.ts";
import { bareBroker } from "../bare-broker.ts";

const bytes = Number(process.argv[2] ?? 1024);
const total = Number(process.argv[3] ?? 1_000_000);
const batch = Number(process.argv[4] ?? 64);
const WINDOW = 2000;

const directory = await mkdtemp(join(tmpdir(), "sluice-path-"));
const broker = bareBroker(directory);
const { turn } = broker;
await broker.open();
const peer = broker.connect({
  protocol: "bench",
  remoteAddress: "127.0.0.1",
  remotePort: 1,
  principal: ANONYMOUS,
  clientId: "",
  namespace: "/",
  clientIdPolicy: "coexist",
  close() {},
});

let received = 0;
let confirmed = 0;
let sum = 0;
class Sink implements DeliverySink {
  consumer!: Consumer;
  isReady(): boolean {
    return true;
  }
  deliver(run: DeliveryRun): void {
    for (let i = 0; i < run.count; i++) {
      const record = run.record(i);
      sum += record.bodyEnd - record.bodyStart;
    }
    received += run.count;
    this.consumer.settle(run.firstDelivery, run.firstDelivery + run.count - 1, OUTCOME.ACCEPT);
    this.consumer.setCredit(1000);
  }
  onDrained(): void {}
  onCancel(): void {}
}
const sink = new Sink();
const address = makeAddress("queue", "q");
sink.consumer = peer.openConsumer(
  { address, mode: "consume", preSettled: false, onLost: OUTCOME.RELEASE },
  sink,
);
sink.consumer.setCredit(1000);

const target = peer.openTarget(address);
const draft = new Draft();
draft.bytes = Buffer.alloc(bytes, 0x61);
draft.end = bytes;
draft.encoding = ENCODING.AMQP1;
const positions = new Float64Array(4096);
let sent = 0;

const started = process.hrtime.bigint();
const cpu = process.cpuUsage();
await new Promise<void>((resolve) => {
  let isWaiting = false;
  const confirm = (): boolean => {
    const to = broker.confirmedTo("fsync");
    while (confirmed < sent && positions[confirmed & 4095]! <= to) confirmed++;
    isWaiting = confirmed < sent;
    return isWaiting;
  };
  const step = (): void => {
    turn.touch();
    for (let i = 0; i < batch && sent < total && sent - confirmed < WINDOW; i++) {
      positions[sent & 4095] = target.publish(draft);
      sent++;
    }
    if (!isWaiting && sent > confirmed) {
      isWaiting = true;
      broker.awaitConfirm({ onConfirm: confirm });
    }
    if (received >= total && confirmed >= total) resolve();
    else setImmediate(step);
  };
  step();
});
const used = process.cpuUsage(cpu);
const seconds = Number(process.hrtime.bigint() - started) / 1e9;
const micros = (used.user + used.system) / total;
process.stdout.write(
  `${bytes} B x ${total}: ${micros.toFixed(2)} us CPU per message, ${Math.round(total / seconds)} msg/s (${sum > 0 ? "delivered" : "-"})\n`,
);
await broker.close();
await rm(directory, { recursive: true });
