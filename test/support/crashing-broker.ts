/**
 * The real broker over the real store with its files in memory, which can be cut off at any moment: what had not been
 * handed to the files by then never happened, and a new one opens what is there.
 */
import { Broker } from "../../src/broker/broker.ts";
import { DEFAULT_SETTINGS } from "../../src/broker/policy.ts";
import { BrokerError } from "../../src/model/errors.ts";
import { ALLOW_ALL } from "../../src/security/authorizer.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { SILENT } from "../../src/telemetry/log.ts";
import { Turn } from "../../src/util/turn.ts";

export class CrashingBroker {
  readonly broker: Broker;
  readonly turn: Turn;
  readonly #storage: MemoryStorage;
  readonly #store: MemoryStore;

  private constructor(storage: MemoryStorage) {
    this.#storage = storage;
    this.#store = new MemoryStore(storage);
    this.turn = new Turn();
    this.broker = new Broker(this.#store, this.turn, {
      nodeName: "test",
      version: "0.0.0",
      limits: {
        maxMessageBytes: 16 * 1024 * 1024,
        maxLinksPerSession: 1024,
        maxSessionsPerConnection: 2047,
      },
      queueDefaults: DEFAULT_SETTINGS,
      topicDefaults: DEFAULT_SETTINGS,
      policies: [],
      autoCreate: true,
      compileSelector: (text) => {
        throw new BrokerError("invalid-argument", `no selectors in this test: ${text}`);
      },
      authorizer: ALLOW_ALL,
      logger: SILENT,
    });
  }

  static async open(storage = new MemoryStorage()): Promise<CrashingBroker> {
    const opened = new CrashingBroker(storage);
    await opened.broker.open();
    return opened;
  }

  /** Cut off now; opens what is there. */
  async crash(): Promise<CrashingBroker> {
    // Turns that are still to run find a store that takes nothing any more, and makes no checkpoint in files that are another's.
    Object.assign(this.#store, {
      publish() {},
      tick() {},
      trim() {},
      dropQueue() {},
      close: async () => {},
    });
    this.broker.sessions.close();
    return await CrashingBroker.open(this.#storage);
  }

  /** Stopped in order; opens what is there. */
  async restart(): Promise<CrashingBroker> {
    await this.broker.close();
    return await CrashingBroker.open(this.#storage);
  }
}
