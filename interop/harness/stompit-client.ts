/** stompit (JavaScript) behind promises. The library is unmodified. */
import stompit, { type StompitClient, type StompitMessage } from "stompit";
import type { Endpoint } from "./broker-process.ts";
import { within } from "./step.ts";
import {
  type ConnectOptions,
  connectHeaders,
  type Headers,
  Inbox,
  type StompClient,
  type TransactionHandle,
} from "./stomp-client.ts";

const LIMIT_MS = 15_000;

export class Stompit implements StompClient {
  readonly #client: StompitClient;
  readonly #failure: Promise<string>;
  /** What waits for a receipt. */
  readonly #waiting = new Set<(error: Error) => void>();

  private constructor(client: StompitClient) {
    this.#client = client;
    // Otherwise each frame of a transaction waits 40 ms for the acknowledgement of the one before.
    client.getTransportSocket().setNoDelay(true);
    this.#failure = new Promise((resolve) => {
      client.on("error", (error) => {
        resolve(`${error.message}: ${error.longMessage ?? ""}`);
        this.#broken(error);
      });
    });
  }

  static connect(endpoint: Endpoint, options: ConnectOptions = {}): Promise<Stompit> {
    const { host, port, user, password, tls } = endpoint;
    const secure = tls === undefined ? {} : { ssl: true, ca: tls.pem, ...tls.identity };
    const isKnown = tls?.identity !== undefined;
    const connected = new Promise<Stompit>((resolve, reject) => {
      stompit.connect(
        {
          host,
          port,
          ...secure,
          connectHeaders: connectHeaders(user, password, { ...options, isKnown }),
        },
        (error, client) => (error === null ? resolve(new Stompit(client)) : reject(error)),
      );
    });
    return within(LIMIT_MS, connected, "stompit connects");
  }

  get connectedHeaders(): Headers {
    return this.#client.headers;
  }

  /** Resolves when `start`'s callback was called; rejects when the connection broke before. */
  #receipt(
    what: string,
    start: (onReceipt: () => void) => void,
    limitMs = LIMIT_MS,
  ): Promise<void> {
    let fail: ((error: Error) => void) | undefined;
    const promise = new Promise<void>((resolve, reject) => {
      fail = reject;
      this.#waiting.add(reject);
      start(resolve);
    });
    return within(limitMs, promise, what).finally(() => this.#waiting.delete(fail!));
  }

  #broken(error: Error): void {
    for (const fail of this.#waiting) fail(error);
    this.#waiting.clear();
  }

  send(
    destination: string,
    body: string | Buffer,
    headers: Headers = {},
    limitMs?: number,
  ): Promise<void> {
    const send = (onReceipt: () => void): void => {
      this.#client.send({ destination, ...headers }, { onReceipt }).end(body);
    };
    return this.#receipt("receipt of SEND", send, limitMs);
  }

  async subscribe(destination: string, headers: Headers = {}): Promise<Inbox> {
    const inbox = new Inbox();
    const subscription = this.#client.subscribe({ destination, ...headers }, this.#fill(inbox));
    inbox.onUnsubscribe(async (more) => {
      subscription.unsubscribe({ ...more });
      await this.settled();
    });
    await this.settled();
    return inbox;
  }

  expect(subscription: string): Inbox {
    const inbox = new Inbox();
    this.#client.setImplicitSubscription(subscription, "auto", this.#fill(inbox));
    return inbox;
  }

  #fill(inbox: Inbox): (error: Error | null, message: StompitMessage) => void {
    return (error, message) => {
      if (error !== null) return;
      const chunks: Buffer[] = [];
      message.on("data", (chunk: Buffer) => chunks.push(chunk));
      message.on("end", () =>
        inbox.add({
          headers: message.headers,
          body: Buffer.concat(chunks),
          ack: (headers) => this.#client.ack(message, { ...headers }),
          acknowledge: () =>
            this.#receipt("receipt of ACK", (onReceipt) =>
              this.#client.ack(message, {}, { onReceipt }),
            ),
          nack: (headers) => this.#client.nack(message, { ...headers }),
        }),
      );
    };
  }

  begin(): TransactionHandle {
    const transaction = this.#client.begin();
    return {
      id: String(transaction.id),
      commit: () =>
        this.#receipt("receipt of COMMIT", (onReceipt) => transaction.commit({ onReceipt })),
      abort: () =>
        this.#receipt("receipt of ABORT", (onReceipt) => transaction.abort({ onReceipt })),
    };
  }

  settled(): Promise<void> {
    return this.begin().abort();
  }

  disconnect(): Promise<void> {
    const done = new Promise<void>((resolve, reject) => {
      this.#client.disconnect((error) => (error ? reject(error) : resolve()));
    });
    return within(LIMIT_MS, done, "stompit disconnects");
  }

  drop(): void {
    this.#client.getTransportSocket().destroy();
    this.#broken(new Error("the socket was destroyed"));
  }

  failure(): Promise<string> {
    return within(LIMIT_MS, this.#failure, "an ERROR frame");
  }
}
