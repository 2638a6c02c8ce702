/** A STOMP client in the matrix; its texts say that they are text, as docs/stomp.md advises for JMS readers. */
import type { Intake, Participant, ReceiveFrom, SendTo } from "./participant.ts";
import type { StompClient } from "./stomp-client.ts";

export class StompParticipant implements Participant {
  readonly name: string;
  readonly protocol = "stomp";
  readonly #connect: () => Promise<StompClient>;

  constructor(name: string, connect: () => Promise<StompClient>) {
    this.name = name;
    this.#connect = connect;
  }

  async send({ kind, address }: SendTo, bodies: readonly string[]): Promise<void> {
    const client = await this.#connect();
    const headers = { "content-type": "text/plain", persistent: "true", origin: this.name };
    for (const body of bodies) await client.send(`/${kind}/${address}`, body, headers);
    await client.disconnect();
  }

  async open({ kind, address, group }: ReceiveFrom): Promise<Intake> {
    const client = await this.#connect();
    const inbox = await client.subscribe(`/${kind}/${address}`, {
      ack: "client-individual",
      ...(group === undefined ? {} : { group }),
    });
    return {
      take: async (count, limitMs) => {
        const texts: string[] = [];
        while (texts.length < count) {
          const message = await inbox.next(limitMs).catch(() => undefined);
          if (message === undefined) break;
          message.ack();
          texts.push(message.body.toString());
        }
        return texts;
      },
      close: () => client.disconnect(),
    };
  }

  async close(): Promise<void> {}
}
