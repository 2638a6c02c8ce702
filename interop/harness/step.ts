/**
 * What a step is: one real client (or one suite, or one matrix) driven against one fresh broker, reported as cells.
 * A cell is one promise of the table: client × capability. It holds, or it fails with a reason; nothing is retried.
 */
import { type BrokerOptions, BrokerProcess, type Endpoint } from "./broker-process.ts";
import type { Setup } from "./toolchain.ts";

export type CellStatus = "pass" | "fail" | "skip";

export interface Cell {
  readonly step: string;
  /** Column of the table. */
  readonly client: string;
  /** Row of the table. */
  readonly capability: string;
  readonly status: CellStatus;
  readonly note: string;
  readonly ms: number;
}

export interface Step {
  /** Name for `--only`. */
  readonly name: string;
  /** One sentence for `--list`. */
  readonly about: string;
  /** Which table the cells belong to. */
  readonly table: string;
  readonly limitSeconds: number;
  /** What has to be installed first; shared set-ups run once. */
  readonly needs?: readonly Setup[];
  /** True when the step stops or kills the broker, so that a foreign one (`--against`) cannot stand in. */
  readonly ownBrokerOnly?: boolean;
  /** Keeps the machine busy or judges times: runs with no other step beside it. */
  readonly isAlone?: boolean;
  /** What it needs cannot be had on every machine: a skip is told, and is no failure even with CI=true. */
  readonly isOptional?: boolean;
  run(context: StepContext): Promise<void>;
}

export const CELL_LIMIT_MS = 45_000;

export interface StepOptions {
  readonly against: Endpoint | undefined;
  readonly rounds: number | undefined;
}

export class StepContext {
  readonly cells: Cell[] = [];
  readonly #step: string;
  readonly #against: Endpoint | undefined;
  readonly #brokers: BrokerProcess[] = [];
  readonly #onCell: (cell: Cell) => void;

  /** How often the crash step kills the broker, when asked for on the command line. */
  readonly rounds: number | undefined;

  constructor(step: string, options: StepOptions, onCell: (cell: Cell) => void) {
    this.#step = step;
    this.#against = options.against;
    this.rounds = options.rounds;
    this.#onCell = onCell;
  }

  /** True when a foreign broker stands in for ours. */
  get isForeign(): boolean {
    return this.#against !== undefined;
  }

  /** A broker of its own for this step, or the foreign one. */
  async broker(options: BrokerOptions = {}): Promise<Endpoint> {
    return this.#against ?? this.ownBroker(options);
  }

  /** A broker of ours that the step may kill and restart; removed when the step is over. */
  async ownBroker(options: BrokerOptions = {}): Promise<BrokerProcess> {
    const broker = await BrokerProcess.start(options);
    this.#brokers.push(broker);
    return broker;
  }

  /** Runs one check; whatever it throws makes the cell fail, and the step goes on. Its string, if any, becomes the note. */
  async check(
    client: string,
    capability: string,
    run: () => Promise<unknown>,
    limitMs: number = CELL_LIMIT_MS,
  ): Promise<boolean> {
    const began = performance.now();
    const cell = { step: this.#step, client, capability };
    try {
      const note = await within(limitMs, run(), `${client}: ${capability}`);
      const ms = performance.now() - began;
      this.record({ ...cell, status: "pass", note: typeof note === "string" ? note : "", ms });
      return true;
    } catch (error) {
      const ms = performance.now() - began;
      this.record({ ...cell, status: "fail", note: reason(error), ms });
      return false;
    }
  }

  pass(client: string, capability: string, note = "", ms = 0): void {
    this.record({ step: this.#step, client, capability, status: "pass", note, ms });
  }

  fail(client: string, capability: string, note: string, ms = 0): void {
    this.record({ step: this.#step, client, capability, status: "fail", note, ms });
  }

  record(cell: Cell): void {
    this.cells.push(cell);
    this.#onCell(cell);
  }

  /** Ends every broker the step started; returns the last output of the one that failed, for the report. */
  async dispose(): Promise<void> {
    for (const broker of this.#brokers.splice(0)) await broker.dispose();
  }

  /** The console output of the step's brokers, when a cell failed and somebody wants to know why. */
  brokerOutput(): string {
    return this.#brokers.map((broker) => broker.output).join("\n");
  }
}

export const reason = (error: unknown): string => {
  if (error instanceof Error) return error.message || error.name;
  if (typeof error === "object" && error !== null) {
    const { condition, description, message } = error as Record<string, unknown>;
    const text = [condition, description ?? message]
      .filter((part) => part !== undefined)
      .join(": ");
    return text === "" ? JSON.stringify(error) : text;
  }
  return String(error);
};

/** The promise's value, or a rejection that says what was waited for. */
export function within<T>(ms: number, promise: Promise<T>, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
