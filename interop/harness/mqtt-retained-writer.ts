/**
 * Writes retained messages, some of them empty, and remembers what each topic holds. Several are open at a time, of one topic one,
 * and each is answered even when the broker is killed meanwhile, so that what must be there is known exactly.
 */
import type { MqttClient } from "mqtt";
import { sleep } from "./broker-process.ts";
import { equal } from "./expect.ts";
import type { MqttOptions, MqttPeer } from "./mqtt-peer.ts";

const TOPICS = 20;
/** Publications that are open at a time, each of topics of its own. */
const WRITERS = 4;
const LIMIT_MS = 10_000;
const QUIET_MS = 150;

export class RetainedWriter {
  readonly #client: MqttClient;
  readonly #connect: (options: MqttOptions) => Promise<MqttPeer>;
  /** What each topic holds; nothing for those that were emptied. */
  readonly #values = new Map<string, string>();
  #sequence = 0;
  #isWriting = false;

  constructor(client: MqttClient, connect: (options: MqttOptions) => Promise<MqttPeer>) {
    this.#client = client;
    this.#connect = connect;
  }

  /** Goes on until `stop`; ends once the last one is answered. */
  async write(random: () => number): Promise<void> {
    this.#isWriting = true;
    await Promise.all(Array.from({ length: WRITERS }, (_, writer) => this.#loop(writer, random)));
  }

  async #loop(writer: number, random: () => number): Promise<void> {
    while (this.#isWriting) {
      if (!this.#client.connected) {
        await sleep(5);
        continue;
      }
      const among = Math.floor((random() * TOPICS) / WRITERS);
      const topic = `state/${among * WRITERS + writer}`;
      const value = random() < 0.2 ? "" : String(++this.#sequence);
      const qos = random() < 0.5 ? 1 : 2;
      const isAnswered = await this.#client.publishAsync(topic, value, { qos, retain: true }).then(
        () => true,
        () => false,
      );
      // MQTT.js gave it up without sending it.
      if (!isAnswered) continue;
      if (value === "") this.#values.delete(topic);
      else this.#values.set(topic, value);
      await sleep(1);
    }
  }

  stop(): void {
    this.#isWriting = false;
  }

  /** A new subscriber gets exactly what is held. */
  async check(): Promise<void> {
    const peer = await this.#connect({ version: 5 });
    try {
      await peer.subscribe("state/#", { qos: 1 });
      const got = new Map<string, string>();
      while (got.size < this.#values.size) {
        const { topic, payload, retain } = await peer.next(LIMIT_MS);
        equal(retain, true, `${topic} is a retained message`);
        got.set(topic, payload.toString());
      }
      await peer.expectQuiet(QUIET_MS);
      const text = (map: ReadonlyMap<string, string>): string =>
        [...map]
          .map((pair) => pair.join("="))
          .sort()
          .join(" ");
      equal(text(got), text(this.#values), "retained messages");
    } finally {
      await peer.end();
    }
  }
}
