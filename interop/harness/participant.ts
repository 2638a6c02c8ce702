/**
 * One client as the matrix sees it: it can send texts to a destination and receive texts from one. A participant lives in this
 * process (JavaScript clients), in a worker program of another language (line protocol in interop/README.md), or is a command.
 */
import type { ChildProcess } from "node:child_process";
import { killGroup, lastLines, lineSplitter, spawnTracked } from "./process.ts";
import { within } from "./step.ts";

export type Protocol = "amqp10" | "stomp" | "mqtt";

/** Where a text goes, in the client's own spelling. */
export interface SendTo {
  readonly address: string;
  readonly kind: "queue" | "topic";
}

/** Where texts come from; members of one `group` divide a topic's messages. */
export interface ReceiveFrom extends SendTo {
  readonly group?: string;
}

export interface Participant {
  readonly name: string;
  readonly protocol: Protocol;
  send(to: SendTo, bodies: readonly string[]): Promise<void>;
  /** Subscribes; resolves once the broker has it. */
  open(from: ReceiveFrom): Promise<Intake>;
  close(): Promise<void>;
}

export interface Intake {
  /** Up to `count` texts, acknowledged; fewer when nothing comes for `limitMs`. */
  take(count: number, limitMs: number): Promise<string[]>;
  close(): Promise<void>;
}

export interface WorkerOptions {
  readonly name: string;
  readonly protocol: Protocol;
  readonly command: string;
  readonly args: readonly string[];
}

const ANSWER_LIMIT_MS = 40_000;

/** Talks to a worker program over its standard input and output, one form-encoded line per request and answer. */
export class WorkerParticipant implements Participant {
  readonly name: string;
  readonly protocol: Protocol;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<string, (answer: URLSearchParams) => void>();
  #lastId = 0;
  #noise = "";

  constructor(options: WorkerOptions) {
    this.name = options.name;
    this.protocol = options.protocol;
    this.#child = spawnTracked(options.command, options.args, { stdin: "pipe" });
    const onLine = lineSplitter((line) => {
      const answer = new URLSearchParams(line.trim());
      const id = answer.get("id");
      if (id === null) this.#noise += `${line}\n`;
      else this.#waiting.get(id)?.(answer);
    });
    this.#child.stdout?.setEncoding("utf8").on("data", onLine);
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#noise = (this.#noise + text).slice(-10_000);
    });
    this.#child.once("exit", (status) => {
      const error = `worker left with status ${status}: ${lastLines(this.#noise, 5)}`;
      for (const answer of this.#waiting.values()) answer(new URLSearchParams({ ok: "0", error }));
    });
    this.#child.stdin?.on("error", () => undefined);
  }

  async #ask(
    fields: Readonly<Record<string, string>>,
    bodies: readonly string[] = [],
  ): Promise<string[]> {
    return (await this.ask(fields, bodies)).getAll("body");
  }

  /** For requests of one program only. */
  async ask(
    fields: Readonly<Record<string, string>>,
    bodies: readonly string[] = [],
  ): Promise<URLSearchParams> {
    const id = String(++this.#lastId);
    const request = new URLSearchParams({ id, ...fields });
    for (const body of bodies) request.append("body", body);
    const answered = new Promise<URLSearchParams>((resolve) => this.#waiting.set(id, resolve));
    this.#child.stdin?.write(`${request.toString()}\n`);
    const what = `${this.name}: ${fields["op"]} ${fields["address"] ?? ""}`;
    const answer = await within(ANSWER_LIMIT_MS, answered, what).finally(() =>
      this.#waiting.delete(id),
    );
    if (answer.get("ok") !== "1") throw new Error(`${what}: ${answer.get("error")}`);
    return answer;
  }

  async send(to: SendTo, bodies: readonly string[]): Promise<void> {
    await this.#ask({ op: "send", address: to.address, kind: to.kind }, bodies);
  }

  async open(from: ReceiveFrom): Promise<Intake> {
    const handle = String(this.#lastId + 1);
    const { address, kind, group = "" } = from;
    await this.#ask({ op: "open", handle, address, kind, group });
    return {
      take: (count, limitMs) =>
        this.#ask({ op: "take", handle, count: String(count), limit: String(limitMs) }),
      close: async () => {
        await this.#ask({ op: "close", handle });
      },
    };
  }

  async close(): Promise<void> {
    this.#child.stdin?.end();
    killGroup(this.#child, "SIGKILL");
  }
}
