/** Listens to a store and lets a test wait for what it says. */
import type {
  MessageStore,
  RecordFields,
  StoreEvents,
  StoreHealth,
  StoreQueue,
} from "../../src/store/message-store.ts";

export class StoreProbe implements StoreEvents {
  watermarks = 0;
  rooms = 0;
  health: StoreHealth[] = [];
  readable: StoreQueue[] = [];
  #waiters: Array<() => void> = [];

  onWatermark(): void {
    this.watermarks++;
    this.#wake();
  }
  onRoom(): void {
    this.rooms++;
    this.#wake();
  }
  onHealth(health: StoreHealth): void {
    this.health.push(health);
    this.#wake();
  }
  onReadable(queue: StoreQueue): void {
    this.readable.push(queue);
    this.#wake();
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }

  /** Resolves once `condition` holds; looked at after every event. */
  async until(what: string, condition: () => boolean, timeoutMs = 10_000): Promise<void> {
    const end = performance.now() + timeoutMs;
    while (!condition()) {
      const left = end - performance.now();
      if (left <= 0) throw new Error(`waited ${timeoutMs} ms for: ${what}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(left, 1000));
        this.#waiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  async durable(store: MessageStore, position: number): Promise<void> {
    await this.until(`durable to ${position}`, () => store.watermarks.durable >= position);
  }
}

const LOCAL = Buffer.from([127, 0, 0, 1, 0, 0, 0x16, 0x28]);

/** Fields of a record with this body; the rest as in an ordinary publish. */
export function fieldsOf(body: Buffer | string, more: Partial<RecordFields> = {}): RecordFields {
  const bytes = Buffer.from(body);
  const properties = Buffer.from("x-enc\x01raw\x02");
  return {
    body: bytes,
    bodyStart: 0,
    bodyEnd: bytes.length,
    flag: 0,
    sysFlag: 0,
    bornTimestamp: 1_700_000_000_000,
    bornHost: LOCAL,
    reconsumeTimes: 0,
    preparedTransactionOffset: 0,
    properties,
    propertiesLength: properties.length,
    tagHash: 0,
    keys: null,
    dispatch: null,
    ...more,
  };
}

/** `x-enc` and these properties. */
export function propertiesOf(values: Record<string, string>): {
  properties: Buffer;
  propertiesLength: number;
} {
  let text = "x-enc\x01raw\x02";
  for (const [name, value] of Object.entries(values)) text += `${name}\x01${value}\x02`;
  const properties = Buffer.from(text);
  return { properties, propertiesLength: properties.length };
}
