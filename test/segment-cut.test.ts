/** A file of the log that somebody cuts off while the real process reads it. */
import { once } from "node:events";
import { readdirSync, truncateSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import test from "ava";
import { SluiceProcess } from "./support/process.ts";
import { temporaryFolder } from "./support/temporary-folder.ts";
import { until } from "./support/wait.ts";

const QUEUES = 200;
const ROUNDS = 20;
const BODY = "x".repeat(1000);

class Client {
  readonly socket: Socket;
  text = "";

  constructor(port: number) {
    this.socket = connect({ host: "127.0.0.1", port });
    this.socket.setEncoding("latin1").on("data", (chunk: string) => {
      this.text += chunk;
    });
    // Its end is seen by what does not come.
    this.socket.on("error", () => {});
  }

  async send(command: string, headers: string, body = ""): Promise<void> {
    if (!this.socket.write(`${command}\n${headers}\n\n${body}\0`)) await once(this.socket, "drain");
  }

  count(what: RegExp): number {
    return this.text.match(what)?.length ?? 0;
  }
}

test.serial(
  "files of the log that are cut off while they are read cost the messages in them, and not the process",
  async (t) => {
    const data = temporaryFolder(t);
    const small = ["--set", "store.segmentBytes=1MiB", "--set", "store.ringBytes=1MiB"];
    const broker = new SluiceProcess(["serve", "--port", "0", "--data", data, ...small]);
    t.teardown(() => broker.child.kill("SIGKILL"));
    await broker.ready();
    const client = new Client(broker.port());
    t.teardown(() => client.socket.destroy());
    await client.send("CONNECT", "accept-version:1.2\nhost:/");
    // A queue's messages lie far from each other: they are not read ahead.
    for (let round = 0; round < ROUNDS; round++) {
      for (let i = 0; i < QUEUES; i++) {
        const receipt = round === ROUNDS - 1 && i === QUEUES - 1 ? "\nreceipt:all" : "";
        await client.send("SEND", `destination:/queue/q${i}${receipt}`, `<${round}>${BODY}`);
      }
    }
    await until("all are stored", () => client.text.includes("receipt-id:all"), 30_000);
    // From the end backwards, in long steps, so that no block that was read has the next one too.
    const order = Array.from({ length: QUEUES }, (_, i) => (QUEUES * 8 - 7 * (i + 1)) % QUEUES);
    const subscribe = async (from: number, to: number): Promise<void> => {
      for (const i of order.slice(from, to)) {
        await client.send("SUBSCRIBE", `id:${i}\ndestination:/queue/q${i}\nack:auto`);
      }
    };
    await subscribe(0, QUEUES / 2);
    const half = (QUEUES / 2) * ROUNDS;
    await until("half of them come", () => client.count(/<\d+>/g) === half, 30_000);
    const segments = readdirSync(join(data, "commitlog")).sort();
    t.true(segments.length > 4);
    for (const name of segments.slice(0, 4)) truncateSync(join(data, "commitlog", name), 0);
    await subscribe(QUEUES / 2, QUEUES);
    const last = new RegExp(`<${ROUNDS - 1}>`, "g");
    const hasLast = (): boolean => {
      if (broker.child.signalCode !== null) throw new Error(`ended by ${broker.child.signalCode}`);
      return client.count(last) === QUEUES;
    };
    await until("what lies elsewhere comes", hasLast, 30_000);
    const isAlive = await fetch(`http://127.0.0.1:${broker.port()}/healthz`);
    t.is(isAlive.status, 200);
  },
);
