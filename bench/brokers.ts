/**
 * The brokers that are measured: ours, and peers by their scripts in `bench/peers/`. All of them are real processes, so that
 * they can be pinned to cores, stopped while another is measured, and asked for their memory.
 */
import type { ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import {
  BrokerProcess,
  type Endpoint,
  freePort,
  sleep,
} from "../interop/harness/broker-process.ts";
import type { LoadProtocol } from "../interop/harness/loadgen.ts";
import { ROOT, workDir } from "../interop/harness/paths.ts";
import { killGroup, lastLines, runOrThrow, spawnTracked } from "../interop/harness/process.ts";

export interface MeasuredBroker extends Endpoint {
  readonly name: string;
  readonly version: string;
  /** Where it speaks this protocol. */
  at(protocol: LoadProtocol): Endpoint;
  /** The process that does the work, for CPU and memory. */
  readonly pid: number;
  /** From spawn to the first answer to a protocol header. */
  readonly startMs: number;
  residentKb(): number;
  /** Restricts every thread of it to these CPUs. */
  pin(cpus: string): Promise<void>;
  /** Stops it where it is, while others are measured. */
  pause(): void;
  resume(): void;
  dispose(): Promise<void>;
}

export interface BrokerKind {
  readonly name: string;
  readonly protocols: readonly LoadProtocol[];
  /** Seconds of load before the first figure; a JVM needs them. */
  readonly warmSeconds: number;
  prepare(): Promise<void>;
  start(): Promise<MeasuredBroker>;
}

const AMQP_HEADER = Buffer.from("AMQP\x03\x01\x00\x00", "latin1");
const START_LIMIT_MS = 120_000;

/** Resolves once the broker answers eight bytes of AMQP, or, for one without AMQP, accepts a connection. */
async function answers(port: number, speaksAmqp: boolean): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    const done = (yes: boolean): void => {
      socket.destroy();
      resolve(yes);
    };
    socket.setTimeout(2000, () => done(false));
    socket.once("error", () => done(false));
    socket.once("connect", () => {
      if (speaksAmqp) socket.write(AMQP_HEADER);
      else done(true);
    });
    socket.once("data", () => done(true));
    socket.once("close", () => done(false));
  });
}

/** As many ports in a row that nobody listens on now. */
async function freePorts(count: number): Promise<number> {
  for (;;) {
    const first = await freePort();
    let isFree = first + count < 65_536;
    for (let next = 1; next < count && isFree; next++) isFree = await isFreePort(first + next);
    if (isFree) return first;
  }
}

const isFreePort = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });

const pinTo = (pid: number, cpus: string): Promise<unknown> =>
  runOrThrow("taskset", ["-acp", cpus, String(pid)], { limitMs: 10_000 });

const statusKb = (pid: number, field: string): number => {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
};

export const ours: BrokerKind = {
  name: "sluice",
  protocols: ["amqp10", "stomp", "stomp-ws", "mqtt", "mqtt-ws"],
  warmSeconds: 3,
  async prepare() {},
  async start() {
    const broker = await BrokerProcess.start();
    const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
      version: string;
    };
    return {
      name: "sluice",
      at: () => broker,
      version: `Sluice ${version}, Node ${process.versions.node}`,
      host: broker.host,
      port: broker.port,
      user: broker.user,
      password: broker.password,
      pid: broker.pid,
      startMs: broker.startMs,
      residentKb: () => broker.residentKb(),
      pin: async (cpus) => {
        await pinTo(broker.pid, cpus);
      },
      pause: () => process.kill(broker.pid, "SIGSTOP"),
      resume: () => process.kill(broker.pid, "SIGCONT"),
      dispose: () => broker.dispose(),
    };
  },
};

interface PeerOptions {
  readonly name: string;
  readonly protocols: readonly LoadProtocol[];
  readonly warmSeconds: number;
  /** Ports beside the first one, where it has one for each protocol. */
  readonly portOffsets?: Partial<Record<LoadProtocol, number>>;
  /** Whether its first port answers AMQP; otherwise an accepted connection has to do. */
  readonly answersAmqp: boolean;
}

/** A peer by its script: `setup`, `version` and `run` (foreground). */
function peer(options: PeerOptions): BrokerKind {
  const { name, protocols, warmSeconds, portOffsets = {}, answersAmqp } = options;
  const script = join(ROOT, `bench/peers/${name}.sh`);
  const lab = workDir("peers");
  return {
    name,
    protocols,
    warmSeconds,
    async prepare() {
      await runOrThrow(script, ["setup"], { env: { LAB: lab }, limitMs: 600_000 });
    },
    async start() {
      // One for each protocol, where it has several, and one for its own needs.
      const port = await freePorts(2 + Math.max(0, ...Object.values(portOffsets)));
      const env = { LAB: lab, PORT: String(port) };
      const asked = await runOrThrow(script, ["version"], { env, limitMs: 60_000 });
      const began = performance.now();
      const child = spawnTracked(script, ["run"], { env });
      let output = "";
      child.stdout?.setEncoding("utf8").on("data", (text: string) => {
        output = (output + text).slice(-10_000);
      });
      child.stderr?.setEncoding("utf8").on("data", (text: string) => {
        output = (output + text).slice(-10_000);
      });
      while (!(await answers(port, answersAmqp))) {
        if (child.exitCode !== null || performance.now() - began > START_LIMIT_MS) {
          killGroup(child, "SIGKILL");
          throw new Error(`${name} did not start\n${lastLines(output, 10)}`);
        }
        await sleep(10);
      }
      const startMs = performance.now() - began;
      const pid = largestOfGroup(child);
      const endpoint = { host: "127.0.0.1", port, user: "guest", password: "guest" };
      return {
        name,
        ...endpoint,
        at: (protocol) => ({ ...endpoint, port: port + (portOffsets[protocol] ?? 0) }),
        version: asked.stdout.trim().replaceAll("-", " "),
        pid,
        startMs,
        residentKb: () => statusKb(pid, "VmRSS"),
        pin: async (cpus) => {
          await pinTo(pid, cpus);
        },
        pause: () => process.kill(pid, "SIGSTOP"),
        resume: () => process.kill(pid, "SIGCONT"),
        dispose: () => stopPeer(child, pid),
      };
    },
  };
}

/** The broker itself among the processes that its start script made: the one with the most memory. */
function largestOfGroup(child: ChildProcess): number {
  const group = child.pid ?? 0;
  let best = group;
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (Number(fields[2]) !== group) continue;
      if (statusKb(Number(entry), "VmRSS") > statusKb(best, "VmRSS")) best = Number(entry);
    } catch {
      // Gone between the listing and the look.
    }
  }
  return best;
}

async function stopPeer(child: ChildProcess, pid: number): Promise<void> {
  process.kill(pid, "SIGCONT");
  killGroup(child, "SIGTERM");
  for (let waited = 0; waited < 5000 && child.exitCode === null; waited += 50) await sleep(50);
  killGroup(child, "SIGKILL");
}

export const PEERS: readonly BrokerKind[] = [
  peer({
    name: "artemis",
    protocols: ["amqp10", "stomp", "stomp-ws", "mqtt", "mqtt-ws"],
    warmSeconds: 20,
    answersAmqp: true,
  }),
  peer({ name: "mosquitto", protocols: ["mqtt"], warmSeconds: 2, answersAmqp: false }),
  peer({ name: "rumqttd", protocols: ["mqtt"], warmSeconds: 2, answersAmqp: false }),
  peer({
    name: "rabbitmq",
    protocols: ["stomp", "mqtt"],
    warmSeconds: 5,
    portOffsets: { stomp: 1, mqtt: 2 },
    answersAmqp: true,
  }),
];
