/** rhea in the matrix, over TCP or WebSocket. */
import type { Endpoint } from "./broker-process.ts";
import type { Intake, Participant, ReceiveFrom, SendTo } from "./participant.ts";
import { nextId, type PeerOptions, RheaPeer, textOf } from "./rhea-peer.ts";

export class RheaParticipant implements Participant {
  readonly name: string;
  readonly protocol = "amqp10";
  readonly #endpoint: Endpoint;
  readonly #transport: PeerOptions;

  constructor(name: string, endpoint: Endpoint, transport: PeerOptions) {
    this.name = name;
    this.#endpoint = endpoint;
    this.#transport = transport;
  }

  async send(to: SendTo, bodies: readonly string[]): Promise<void> {
    const peer = await RheaPeer.connect(this.#endpoint, this.#transport);
    const sender = await peer.sender(to.address, to.kind);
    const properties = { application_properties: { origin: this.name } };
    for (const body of bodies) await sender.deliver({ body, durable: true, ...properties });
    await peer.close();
  }

  async open(from: ReceiveFrom): Promise<Intake> {
    const peer = await RheaPeer.connect(this.#endpoint, this.#transport);
    const shared = from.group === undefined ? [] : ["shared", "global"];
    const source = { address: from.address, capabilities: [from.kind, ...shared] };
    const name =
      from.group === undefined ? {} : { name: `${from.group}|global-volatile${nextId()}` };
    const receiver = await peer.receiver({ ...name, source });
    return {
      take: async (count, limitMs) => {
        const texts: string[] = [];
        while (texts.length < count) {
          const next = await receiver.next(limitMs).catch((error: unknown) => {
            if (peer.error !== undefined) throw error;
            return undefined;
          });
          if (next === undefined) break;
          next.delivery.accept();
          texts.push(textOf(next.message));
        }
        return texts;
      },
      close: () => peer.close(),
    };
  }

  async close(): Promise<void> {}
}
