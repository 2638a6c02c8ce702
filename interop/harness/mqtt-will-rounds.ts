/**
 * Clients with wills around a kill of the broker: some stay away afterwards, some come back in time, some had said goodbye.
 * A watcher that keeps its session counts what is published for them, with QoS 2.
 */
import type { MqttClient } from "mqtt";
import { sleep } from "./broker-process.ts";
import type { MqttOptions, MqttPeer } from "./mqtt-peer.ts";

const SETTLE_LIMIT_MS = 15_000;
const QUIET_MS = 500;
const LONG_DELAY_SECONDS = 600;

export class MqttWillRounds {
  readonly #connect: (options: MqttOptions) => Promise<MqttPeer>;
  readonly #seen = new Map<string, number>();
  readonly #expected = new Set<string>();
  #returning: MqttOptions[] = [];
  #invited: MqttPeer[] = [];

  constructor(connect: (options: MqttOptions) => Promise<MqttPeer>) {
    this.#connect = connect;
  }

  watch(client: MqttClient): void {
    client.on("message", (topic, payload) => {
      if (!topic.startsWith("wills/")) return;
      const id = payload.toString();
      this.#seen.set(id, (this.#seen.get(id) ?? 0) + 1);
    });
    client.subscribe("wills/#", { qos: 2 });
  }

  /** Right before a kill. */
  async prepare(round: number): Promise<void> {
    // Back from the last round: they say goodbye, so that nothing is to be published for them.
    for (const peer of this.#invited.splice(0)) await peer.end();

    const polite = await this.#connect(this.#client(`polite ${round}`, 5, 1));
    await polite.end();
    this.#returning = [this.#client(`back ${round}`, 5, LONG_DELAY_SECONDS)];
    for (const options of this.#returning) await this.#connect(options);
    // Their connections end with the broker, and nothing brings them back.
    for (const [name, version, delay] of [
      [`away ${round}`, 5, 1],
      [`away at once ${round}`, 5, 0],
      [`away 3.1.1 ${round}`, 4, 0],
    ] as const) {
      await this.#connect(this.#client(name, version, delay));
      this.#expected.add(name);
    }
    const dropped = await this.#connect(this.#client(`dropped ${round}`, 5, 1));
    this.#expected.add(`dropped ${round}`);
    dropped.drop();
  }

  /** Right after the restart. */
  async comeBack(): Promise<void> {
    for (const options of this.#returning) this.#invited.push(await this.#connect(options));
  }

  /** Waits until every will that is due was seen. */
  async settled(): Promise<void> {
    for (const peer of this.#invited.splice(0)) await peer.end();
    for (let waited = 0; waited < SETTLE_LIMIT_MS; waited += 50) {
      if ([...this.#expected].every((id) => this.#seen.has(id))) break;
      await sleep(50);
    }
    await sleep(QUIET_MS);
  }

  wrong(): string[] {
    const missing = [...this.#expected].filter((id) => !this.#seen.has(id));
    const twice = [...this.#seen].filter(([, count]) => count > 1);
    const uncalled = [...this.#seen.keys()].filter((id) => !this.#expected.has(id));
    return [
      ...missing.map((id) => `no will of "${id}"`),
      ...twice.map(([id, count]) => `will of "${id}" ${count} times`),
      ...uncalled.map((id) => `will of "${id}"`),
    ];
  }

  #client(name: string, version: 4 | 5, delaySeconds: number): MqttOptions {
    const will = {
      topic: `wills/${version}`,
      payload: Buffer.from(name),
      qos: 2,
      retain: false,
    } as const;
    if (version === 4) return { version, clientId: name, clean: false, will };
    return {
      version,
      clientId: name,
      clean: false,
      properties: { sessionExpiryInterval: 3600 },
      will: { ...will, properties: { willDelayInterval: delaySeconds } },
    };
  }
}
