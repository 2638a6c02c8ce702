/**
 * Clients of AMQP 1.0, STOMP and MQTT that stay connected while the broker's disk fills up or fails: one producer and one
 * consumer each, on a queue (or topic) of their own. They note what was confirmed and what was delivered.
 */
import { type Endpoint, sleep } from "./broker-process.ts";
import { MqttPeer } from "./mqtt-peer.ts";
import { RheaPeer, type RheaSender, textOf } from "./rhea-peer.ts";
import { Stompit } from "./stompit-client.ts";

export const PROTOCOLS = ["AMQP", "STOMP", "MQTT"] as const;
export type ProtocolName = (typeof PROTOCOLS)[number];

const ADDRESS = "disk.traffic";
const WINDOW = 20;
const PADDING = "x".repeat(1000);
const QUOTA = /Quota exceeded/;
const PATIENCE_MS = 50;
const SEND_LIMIT_MS = 600_000;

class Side {
  readonly confirmed = new Set<string>();
  readonly delivered = new Set<string>();
  /** What the broker refused, in its words. */
  readonly refusals: string[] = [];
  /** Messages that it was told to send later. */
  postponed = 0;
  sequence = 0;
}

export class DiskTraffic {
  readonly sides: Readonly<Record<ProtocolName, Side>> = {
    AMQP: new Side(),
    STOMP: new Side(),
    MQTT: new Side(),
  };
  #isProducing = false;
  #loops: Promise<void>[] = [];
  #amqp!: RheaPeer;
  #sender!: RheaSender;
  #stomp!: Stompit;
  #stompReader!: Stompit;
  #mqtt!: MqttPeer;

  async connect(broker: Endpoint): Promise<void> {
    this.#amqp = await RheaPeer.connect(broker, { containerId: "disk" });
    this.#sender = await this.#amqp.sender(`${ADDRESS}.amqp`);
    this.#stomp = await Stompit.connect(broker);
    this.#stompReader = await Stompit.connect(broker);
    const mqtt = {
      version: 5,
      clientId: "disk",
      properties: { sessionExpiryInterval: 3600 },
    } as const;
    this.#mqtt = await MqttPeer.connect(broker, mqtt);
    await this.#consume();
  }

  async #consume(): Promise<void> {
    const { AMQP, STOMP, MQTT } = this.sides;
    const receiver = await this.#amqp.receiver(`${ADDRESS}.amqp`);
    receiver.each(200, ({ message, delivery }) => {
      AMQP.delivered.add(idOf(textOf(message)));
      delivery.accept();
    });
    const inbox = await this.#stompReader.subscribe(`/queue/${ADDRESS}.stomp`, {
      ack: "client-individual",
    });
    void (async () => {
      for (;;) {
        const message = await inbox.next(SEND_LIMIT_MS);
        STOMP.delivered.add(idOf(message.body.toString()));
        message.ack();
      }
    })().catch(() => undefined);
    this.#mqtt.client.on("message", (_topic, payload) => {
      MQTT.delivered.add(idOf(payload.toString()));
    });
    await this.#mqtt.subscribe("disk/traffic", { qos: 1 });
  }

  /** Knows what these clients knew. */
  resume({ sides }: DiskTraffic): void {
    for (const name of PROTOCOLS) {
      for (const id of sides[name].confirmed) this.sides[name].confirmed.add(id);
      for (const id of sides[name].delivered) this.sides[name].delivered.add(id);
    }
  }

  start(): void {
    this.#isProducing = true;
    this.#loops.push(
      this.#produce("AMQP", async (text) => {
        const { outcome, delivery } = await this.#sender.send(
          { body: text, durable: true },
          SEND_LIMIT_MS,
        );
        if (outcome !== "accepted") throw new Error(JSON.stringify(delivery.remote_state));
      }),
      this.#produce("STOMP", (text) =>
        this.#stomp.send(`/queue/${ADDRESS}.stomp`, text, { persistent: "true" }, SEND_LIMIT_MS),
      ),
      this.#produce("MQTT", async (text) => {
        await this.#mqtt.client.publishAsync("disk/traffic", text, { qos: 1 });
      }),
    );
  }

  async #produce(name: ProtocolName, send: (text: string) => Promise<void>): Promise<void> {
    const side = this.sides[name];
    const pending = new Set<Promise<void>>();
    let postponed = 0;
    while (this.#isProducing) {
      const id = `${name}:${side.sequence++}`;
      const answered = send(`${id}|${PADDING}`)
        .then(() => void side.confirmed.add(id))
        .catch((error: unknown) => {
          // MQTT 5 says so (0x97), and the message was not taken: the next one may be.
          if (QUOTA.test(String(error))) side.postponed++;
          else side.refusals.push(String(error));
        })
        .finally(() => pending.delete(answered));
      pending.add(answered);
      if (pending.size >= WINDOW) await Promise.race(pending);
      await sleep(side.postponed > postponed ? PATIENCE_MS : 1);
      postponed = side.postponed;
      if (side.refusals.length > WINDOW) break;
    }
    await Promise.race([Promise.all(pending), sleep(20_000)]);
  }

  /** Ends producing once everything sent was answered. */
  async stopProducing(): Promise<void> {
    this.#isProducing = false;
    await Promise.all(this.#loops.splice(0));
  }

  /** Does AMQP's producer lack credit? */
  get hasNoCredit(): boolean {
    return !this.#sender.link.sendable();
  }

  /** Whose connection has ended, and why. */
  async ended(): Promise<string> {
    const gone: string[] = [];
    if (this.#amqp.error !== undefined) gone.push(`AMQP: ${String(this.#amqp.error)}`);
    if (!this.#mqtt.client.connected) gone.push("MQTT");
    const failure = await Promise.race([this.#stomp.failure(), sleep(0, "")]);
    if (failure !== "") gone.push(`STOMP: ${failure}`);
    return gone.join(", ");
  }

  get confirmedCounts(): readonly number[] {
    return PROTOCOLS.map((name) => this.sides[name].confirmed.size);
  }

  /** Confirmed messages that nobody has got. */
  missing(): string[] {
    return PROTOCOLS.flatMap((name) => {
      const { confirmed, delivered } = this.sides[name];
      return [...confirmed].filter((id) => !delivered.has(id));
    });
  }

  async end(): Promise<void> {
    this.#isProducing = false;
    this.#amqp.abort();
    this.#stomp.drop();
    this.#stompReader.drop();
    this.#mqtt.drop();
    await Promise.race([Promise.all(this.#loops.splice(0)), sleep(100)]);
  }
}

const idOf = (text: string): string => text.slice(0, text.indexOf("|"));
