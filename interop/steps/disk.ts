/**
 * The broker's disk is filled to the last byte, or fails and becomes read-only, while clients of all three protocols work on it.
 * `DISK_HOLD=60` holds it full for a minute.
 */
import { chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { type BrokerProcess, sleep } from "../harness/broker-process.ts";
import { DiskTraffic, PROTOCOLS } from "../harness/disk-traffic.ts";
import { equal, truly } from "../harness/expect.ts";
import { OwnDisk } from "../harness/own-disk.ts";
import { ROOT } from "../harness/paths.ts";
import { spawnTracked } from "../harness/process.ts";
import { RheaPeer } from "../harness/rhea-peer.ts";
import type { Step, StepContext } from "../harness/step.ts";

const CLIENT = "rhea, stompit, MQTT.js at once";
const HOLD_MS = Number(process.env["DISK_HOLD"] ?? 5) * 1000;
const BACKLOG = 500;
const WAIT_MS = 30_000;
const CELL_LIMIT_MS = HOLD_MS + 120_000;
const EXIT_UNUSABLE = 3;

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + WAIT_MS;
  while (!(await condition())) {
    truly(performance.now() < end, `within ${WAIT_MS / 1000} s: ${what}`);
    await sleep(20);
  }
}

async function readiness(broker: BrokerProcess): Promise<{ status: number; text: string }> {
  const answer = await fetch(`http://${broker.host}:${broker.port}/readyz`);
  return { status: answer.status, text: (await answer.text()).trim() };
}

/** Waits until no protocol has got a confirmation for a second. */
async function untilHeld(traffic: DiskTraffic): Promise<void> {
  let before = "";
  let since = performance.now();
  await until("every producer is held back", () => {
    const now = traffic.confirmedCounts.join();
    if (now !== before) since = performance.now();
    before = now;
    return performance.now() - since > 1000;
  });
}

const untilConfirmed = (traffic: DiskTraffic, more: number): Promise<void> => {
  const from = traffic.confirmedCounts;
  return until(`${more} confirmations over each protocol`, () =>
    traffic.confirmedCounts.every((count, at) => count >= from[at]! + more),
  );
};

async function fillBacklog(broker: BrokerProcess): Promise<void> {
  const peer = await RheaPeer.connect(broker);
  const sender = await peer.sender("disk.backlog");
  await sender.deliverAll(BACKLOG, (index) => ({ body: `backlog ${index}`, durable: true }));
  await peer.close();
}

async function takeBacklog(broker: BrokerProcess, count: number): Promise<void> {
  const peer = await RheaPeer.connect(broker);
  const receiver = await peer.receiver("disk.backlog");
  const got = await receiver.acceptAll(count, WAIT_MS);
  equal(got.length, count, "messages of the backlog");
  await peer.close();
}

/** The broker starts on the repaired disk, and has everything that was confirmed before. Those who go on from there. */
async function writableAgain(
  broker: BrokerProcess,
  disk: OwnDisk,
  before: DiskTraffic,
): Promise<DiskTraffic> {
  disk.repair("rw");
  await broker.restart();
  const again = new DiskTraffic();
  again.resume(before);
  await again.connect(broker);
  await until("everything confirmed was delivered", () => again.missing().length === 0);
  return again;
}

async function fullDisk(context: StepContext, disk: OwnDisk, leave: number): Promise<void> {
  const words = leave === 0 ? "full to the last byte" : "below its limit";
  const limit = `store.minFreeBytes=${leave * 2}`;
  const broker = await context.ownBroker({
    dataDir: join(disk.path, `data-${leave}`),
    args: ["--set", limit],
  });
  const traffic = new DiskTraffic();
  await traffic.connect(broker);
  await fillBacklog(broker);
  traffic.start();
  await untilConfirmed(traffic, 50);
  let giveBack = (): void => undefined;
  const check = (what: string, run: () => Promise<unknown>): Promise<boolean> =>
    context.check(CLIENT, `a disk ${words}: ${what}`, run, CELL_LIMIT_MS);
  await check("producers are held back, connections stay, /readyz says why", async () => {
    giveBack = disk.fill(leave);
    await untilHeld(traffic);
    const { status, text } = await readiness(broker);
    equal(status, 503, "/readyz");
    truly(/disk/.test(text), text);
    truly(/store\.blocked/.test(broker.output), "the log says so");
    const held = traffic.confirmedCounts.join();
    await sleep(HOLD_MS);
    equal(await traffic.ended(), "", "connections that ended");
    equal(traffic.confirmedCounts.join(), held, "confirmed while held");
    equal(traffic.sides.STOMP.refusals.join(), "", "STOMP refusals");
    equal(traffic.sides.MQTT.refusals.join(), "", "MQTT refusals");
    return text;
  });
  await check("consumers go on", () => takeBacklog(broker, BACKLOG / 2));
  await check("producers go on by themselves once there is space", async () => {
    giveBack();
    await untilConfirmed(traffic, 50);
    equal((await readiness(broker)).text, "ready", "/readyz");
    equal(await traffic.ended(), "", "connections that ended");
  });
  await check("nothing confirmed is lost, nothing acknowledged comes back", async () => {
    await traffic.stopProducing();
    await until("everything confirmed was delivered", () => traffic.missing().length === 0);
    await traffic.end();
    equal(await broker.stop(), 0, "exit status");
    await broker.restart();
    await takeBacklog(broker, BACKLOG / 2);
    const peer = await RheaPeer.connect(broker);
    const receiver = await peer.receiver("disk.backlog");
    receiver.link.add_credit(1);
    await sleep(300);
    equal(receiver.pending, 0, "messages that were acknowledged before");
    await peer.close();
    const counts = PROTOCOLS.map((name) => `${name} ${traffic.sides[name].confirmed.size}`);
    return `confirmed: ${counts.join(", ")}`;
  });
  await broker.dispose();
}

async function readOnlyDisk(context: StepContext, disk: OwnDisk): Promise<void> {
  const dataDir = join(disk.path, "data");
  const broker = await context.ownBroker({ dataDir, args: ["--set", "store.minFreeBytes=0"] });
  const traffic = new DiskTraffic();
  await traffic.connect(broker);
  await fillBacklog(broker);
  traffic.start();
  await untilConfirmed(traffic, 50);
  const check = (what: string, run: () => Promise<unknown>): Promise<boolean> =>
    context.check(CLIENT, `a disk that becomes read-only: ${what}`, run, CELL_LIMIT_MS);
  await check("nothing more is confirmed, /readyz and the log say why", async () => {
    disk.break();
    await untilHeld(traffic);
    const { status, text } = await readiness(broker);
    equal(status, 503, "/readyz");
    truly(/read-only|EROFS|I\/O|EIO/i.test(text), text);
    truly(/store\.blocked/.test(broker.output), "the log says so");
    return text;
  });
  await check("consumers still get what is there", () => takeBacklog(broker, BACKLOG / 2));
  await check("the process ends when it is told to", async () => {
    await traffic.end();
    const status = await broker.stop();
    truly(status !== null, "it left by itself");
    return `exit status ${String(status)}`;
  });
  await check("it does not start on a read-only disk, and says so: exit status 3", async () => {
    disk.repair("ro");
    const error = await broker.restart().then(
      () => "started",
      (reason: unknown) => String(reason),
    );
    truly(error.includes(`status ${EXIT_UNUSABLE}`), error);
    truly(/read-only|EROFS/i.test(error) && error.includes(dataDir), error);
    return error.split("\n").at(-1);
  });
  await check("once it is writable again everything confirmed is there", async () => {
    const again = await writableAgain(broker, disk, traffic);
    again.start();
    await untilConfirmed(again, 10);
    await again.end();
  });
  await broker.dispose();
}

/** The same, where the configuration says that the process is to end. */
async function stopsOnFailure(context: StepContext, disk: OwnDisk): Promise<void> {
  const args = ["--set", "store.minFreeBytes=0", "--set", "store.onFailure=stop"];
  const broker = await context.ownBroker({ dataDir: join(disk.path, "stops"), args });
  const traffic = new DiskTraffic();
  await traffic.connect(broker);
  traffic.start();
  await untilConfirmed(traffic, 50);
  await context.check(
    CLIENT,
    'a disk that becomes read-only, store.onFailure = "stop": the process ends, and nothing confirmed is lost',
    async () => {
      disk.break();
      await until("the process ended", () => !broker.isRunning);
      equal(await broker.stop(), 1, "exit status");
      truly(/store\.onFailure/.test(broker.output), "the log says why");
      await traffic.end();
      const again = await writableAgain(broker, disk, traffic);
      await again.end();
    },
    CELL_LIMIT_MS,
  );
  await broker.dispose();
}

/** A data directory of another user: what it says and how it leaves. */
async function wrongOwner(context: StepContext, disk: OwnDisk): Promise<void> {
  await context.check(
    "node",
    "a data directory of somebody else: exit status 3, and it says so",
    async () => {
      const dataDir = join(disk.path, "theirs");
      mkdirSync(dataDir, { mode: 0o700 });
      chownSync(dataDir, 0, 0);
      const serve = [join(ROOT, "dist/src/main.js"), "serve", "--port", "0", "--data", dataDir];
      const child = spawnTracked("setpriv", [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        process.execPath,
        ...serve,
      ]);
      let output = "";
      for (const stream of [child.stdout, child.stderr]) {
        stream?.setEncoding("utf8").on("data", (text: string) => {
          output += text;
        });
      }
      const status = await new Promise((resolve) => child.once("close", resolve));
      equal(status, EXIT_UNUSABLE, `exit status; ${output}`);
      truly(/may not read and write/.test(output) && output.includes(dataDir), output);
      return output.trim().split("\n").at(-1);
    },
  );
}

export const diskStep: Step = {
  name: "disk",
  about:
    "a full disk, one that becomes read-only, one of somebody else (needs root; DISK_HOLD=60 holds it for a minute)",
  table: "Crashes",
  limitSeconds: 900,
  ownBrokerOnly: true,
  isOptional: true,
  async run(context) {
    const small = OwnDisk.inMemory(256);
    if (small === null) {
      skip(context, "file systems of its own", "this user may not mount");
      return;
    }
    try {
      await fullDisk(context, small, 8 << 20);
      await fullDisk(context, small, 0);
      await wrongOwner(context, small);
    } finally {
      await context.dispose();
      small.dispose();
    }
    const failing = OwnDisk.ext4(256);
    if (failing === null) {
      skip(context, "a disk that becomes read-only", "ext4 on a loop device cannot be had here");
      return;
    }
    try {
      await readOnlyDisk(context, failing);
      await stopsOnFailure(context, failing);
    } finally {
      await context.dispose();
      failing.dispose();
    }
  },
};

function skip(context: StepContext, capability: string, note: string): void {
  context.record({ step: "disk", client: CLIENT, capability, status: "skip", note, ms: 0 });
}
