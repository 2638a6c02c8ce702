/** What the checks ask of a STOMP client, whichever library it is; and the inbox that all of them fill. */
import { within } from "./step.ts";

export type Version = "1.0" | "1.1" | "1.2";
export type Headers = Readonly<Record<string, string>>;

export interface ConnectOptions {
  readonly version?: Version;
  readonly clientId?: string;
  /** ms, both ways. */
  readonly heartbeatMs?: number;
  readonly password?: string;
  readonly namespace?: string;
  /** By its certificate: no name and no password. */
  readonly isKnown?: boolean;
}

export interface Received {
  readonly headers: Headers;
  readonly body: Buffer;
  ack(headers?: Headers): void;
  /** ACK with a receipt; resolves when that comes. */
  acknowledge(): Promise<void>;
  nack(headers?: Headers): void;
}

export interface TransactionHandle {
  readonly id: string;
  /** Resolves with the receipt. */
  commit(): Promise<void>;
  abort(): Promise<void>;
}

export interface StompClient {
  readonly connectedHeaders: Headers;
  /** Resolves with the receipt. */
  send(destination: string, body: string | Buffer, headers?: Headers): Promise<void>;
  /** Resolves once the broker has seen the SUBSCRIBE. */
  subscribe(destination: string, headers?: Headers): Promise<Inbox>;
  /** Messages with this subscription id come without a SUBSCRIBE. */
  expect(subscription: string): Inbox;
  begin(): TransactionHandle;
  /** All frames so far were handled. */
  settled(): Promise<void>;
  disconnect(): Promise<void>;
  /** The socket breaks. */
  drop(): void;
  /** What the broker's ERROR said, once it comes. */
  failure(): Promise<string>;
}

const NEXT_LIMIT_MS = 10_000;
const QUIET_MS = 250;

export class Inbox {
  readonly #messages: Received[] = [];
  #waiting: Array<(message: Received) => void> = [];
  #unsubscribe: (headers?: Headers) => Promise<void> = async () => undefined;

  add(message: Received): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#messages.push(message);
    else waiting(message);
  }

  onUnsubscribe(unsubscribe: (headers?: Headers) => Promise<void>): this {
    this.#unsubscribe = unsubscribe;
    return this;
  }

  unsubscribe(headers?: Headers): Promise<void> {
    return this.#unsubscribe(headers);
  }

  next(limitMs: number = NEXT_LIMIT_MS): Promise<Received> {
    const message = this.#messages.shift();
    if (message !== undefined) return Promise.resolve(message);
    let waiter: ((message: Received) => void) | undefined;
    const promise = new Promise<Received>((resolve) => {
      waiter = resolve;
      this.#waiting.push(resolve);
    });
    return within(limitMs, promise, "the next message").catch((error) => {
      this.#waiting = this.#waiting.filter((one) => one !== waiter);
      throw error;
    });
  }

  async take(count: number): Promise<Received[]> {
    const messages: Received[] = [];
    while (messages.length < count) messages.push(await this.next());
    return messages;
  }

  /** The texts of the next messages. */
  async texts(count: number): Promise<string> {
    return (await this.take(count)).map(({ body }) => body.toString()).join(" ");
  }

  /** Nothing comes for a while. */
  async expectEmpty(quietMs: number = QUIET_MS): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, quietMs));
    const message = this.#messages[0];
    if (message !== undefined) {
      throw new Error(`unexpected message "${message.body.toString().slice(0, 60)}"`);
    }
  }

  get count(): number {
    return this.#messages.length;
  }
}

export const connectHeaders = (
  user: string,
  password: string,
  options: ConnectOptions,
): Record<string, string> => ({
  host: options.namespace ?? "/",
  ...(options.isKnown === true ? {} : { login: user, passcode: options.password ?? password }),
  "accept-version": options.version ?? "1.2",
  "heart-beat": `${options.heartbeatMs ?? 0},${options.heartbeatMs ?? 0}`,
  ...(options.clientId === undefined ? {} : { "client-id": options.clientId }),
});
