/** MQTT.js in the matrix. */
import type { Endpoint } from "./broker-process.ts";
import { type MqttOptions, MqttPeer } from "./mqtt-peer.ts";
import type { Intake, Participant, ReceiveFrom, SendTo } from "./participant.ts";

export class MqttParticipant implements Participant {
  readonly name: string;
  readonly protocol = "mqtt";
  readonly #endpoint: Endpoint;
  readonly #options: MqttOptions;

  constructor(name: string, endpoint: Endpoint, options: MqttOptions) {
    this.name = name;
    this.#endpoint = endpoint;
    this.#options = options;
  }

  async send({ address }: SendTo, bodies: readonly string[]): Promise<void> {
    const peer = await MqttPeer.connect(this.#endpoint, this.#options);
    for (const body of bodies) await peer.publish(address, body);
    await peer.end();
  }

  async open({ address }: ReceiveFrom): Promise<Intake> {
    const peer = await MqttPeer.connect(this.#endpoint, this.#options);
    await peer.subscribe(address);
    return {
      take: async (count, limitMs) => {
        const texts: string[] = [];
        while (texts.length < count) {
          const message = await peer.next(limitMs).catch(() => undefined);
          if (message === undefined) break;
          texts.push(message.payload.toString());
        }
        return texts;
      },
      close: () => peer.end(),
    };
  }

  async close(): Promise<void> {}
}
