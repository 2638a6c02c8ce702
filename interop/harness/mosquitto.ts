/** mosquitto_pub and mosquitto_sub, the command-line clients, for checks and in the matrix. */
import type { ChildProcess } from "node:child_process";
import type { Endpoint } from "./broker-process.ts";
import type { Intake, Participant, ReceiveFrom, SendTo } from "./participant.ts";
import { killGroup, lineSplitter, runOrThrow, spawnTracked } from "./process.ts";
import { within } from "./step.ts";
import { debianCommand } from "./toolchain.ts";

export const mosquittoClients = debianCommand("mosquitto_pub", "mosquitto-clients");

const LIMIT_MS = 10_000;
/** What our output format puts before every message; debug lines do not have it. */
const MARK = "message ";

const where = ({ host, port, user, password, tls }: Endpoint): string[] => [
  ...(tls === undefined ? [] : ["--cafile", tls.file]),
  "-h",
  host,
  "-p",
  String(port),
  "-u",
  user,
  "-P",
  password,
];

/** Publishes and returns when mosquitto_pub has left, which it does once the broker has acknowledged. */
export async function mosquittoPub(endpoint: Endpoint, args: readonly string[]): Promise<void> {
  await runOrThrow("mosquitto_pub", [...where(endpoint), ...args], { limitMs: LIMIT_MS });
}

/** A running mosquitto_sub. */
export class MosquittoSub {
  readonly #child: ChildProcess;
  readonly #messages: string[] = [];
  #wake: (() => void) | undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Resolves once the broker has acknowledged the subscription. `format` is mosquitto_sub's own, `%p` the payload. */
  static async start(
    endpoint: Endpoint,
    args: readonly string[],
    format = "%p",
  ): Promise<MosquittoSub> {
    const output = ["-d", "-F", `${MARK}${format}`];
    // Its output goes to a pipe: without stdbuf it would come when a block of it is full.
    const command = ["-oL", "mosquitto_sub", ...where(endpoint), ...output, ...args];
    const child = spawnTracked("stdbuf", command);
    const sub = new MosquittoSub(child);
    const subscribed = new Promise<void>((resolve, reject) => {
      const onLine = lineSplitter((line) => {
        if (line.startsWith("Subscribed (")) resolve();
        if (!line.startsWith(MARK)) return;
        sub.#messages.push(line.slice(MARK.length));
        sub.#wake?.();
      });
      child.stdout?.setEncoding("utf8").on("data", onLine);
      child.once("exit", (status) => reject(new Error(`mosquitto_sub left with status ${status}`)));
    });
    await within(LIMIT_MS, subscribed, `mosquitto_sub ${args.join(" ")}`);
    return sub;
  }

  /** Up to `count` messages; fewer when nothing comes for `limitMs`. */
  async take(count: number, limitMs = LIMIT_MS): Promise<string[]> {
    const taken: string[] = [];
    while (taken.length < count) {
      if (this.#messages.length === 0) {
        const arrived = new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        const came = await within(limitMs, arrived, "a message").then(
          () => true,
          () => false,
        );
        if (!came) break;
      }
      const message = this.#messages.shift();
      if (message !== undefined) taken.push(message);
    }
    return taken;
  }

  /** SIGINT makes it disconnect politely, SIGKILL does not. */
  async stop(signal: "SIGINT" | "SIGKILL" = "SIGINT"): Promise<void> {
    const left = new Promise<void>((resolve) => this.#child.once("exit", () => resolve()));
    killGroup(this.#child, signal);
    await within(LIMIT_MS, left, "mosquitto_sub to leave");
  }
}

export class MosquittoParticipant implements Participant {
  readonly name = "mosquitto";
  readonly protocol = "mqtt";
  readonly #endpoint: Endpoint;

  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint;
  }

  async send({ address }: SendTo, bodies: readonly string[]): Promise<void> {
    for (const body of bodies) {
      await mosquittoPub(this.#endpoint, ["-q", "1", "-t", address, "-m", body]);
    }
  }

  async open({ address }: ReceiveFrom): Promise<Intake> {
    const sub = await MosquittoSub.start(this.#endpoint, ["-q", "1", "-t", address]);
    return { take: (count, limitMs) => sub.take(count, limitMs), close: () => sub.stop() };
  }

  async close(): Promise<void> {}
}
