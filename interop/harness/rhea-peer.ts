/**
 * rhea behind promises: one connection, senders whose `send` resolves with the outcome, receivers that are asked for the next
 * message. The library is unmodified and its defaults are kept, except that nothing reconnects or replenishes credit by itself
 * unless a check asks for it.
 */
import type { Socket } from "node:net";
import rhea, {
  type Connection,
  type Delivery,
  type EventContext,
  type LinkOptions,
  type Message,
  type Receiver,
  type ReceiverOptions,
  type Sender,
  type SenderOptions,
} from "rhea";
import { WebSocket } from "ws";
import type { Endpoint } from "./broker-process.ts";
import { within } from "./step.ts";

const OPEN_LIMIT_MS = 15_000;

export interface PeerOptions {
  readonly containerId?: string;
  /** Carry AMQP in WebSocket messages, sub-protocol `amqp`. */
  readonly webSocket?: boolean;
  readonly idleTimeoutMs?: number;
  readonly maxFrameSize?: number;
  /** Log in without a name. */
  readonly anonymous?: boolean;
  readonly namespace?: string;
}

export type Outcome = "accepted" | "rejected" | "released" | "modified";

export class RheaPeer {
  readonly connection: Connection;
  readonly containerId: string;
  #error: unknown;
  #isClosed = false;
  #webSocket: WebSocket | undefined;
  #waiting = new Set<(error: unknown) => void>();

  private constructor(connection: Connection, containerId: string) {
    this.connection = connection;
    this.containerId = containerId;
    connection.on("disconnected", (context: EventContext) => {
      this.#broken(context.error ?? new Error("disconnected"));
    });
    connection.on("connection_error", (context: EventContext) => {
      this.#broken(context.connection.error ?? context.error ?? new Error("connection error"));
    });
    // Without a listener rhea throws; the links report their own errors below.
    connection.on("error", (error: unknown) => this.#broken(error));
    connection.on("protocol_error", (error: unknown) => this.#broken(error));
  }

  static async connect(endpoint: Endpoint, options: PeerOptions = {}): Promise<RheaPeer> {
    const id = options.containerId ?? `rhea-${process.pid}-${nextId()}`;
    const container = rhea.create_container({ id });
    const identity = endpoint.tls?.identity;
    const login =
      identity !== undefined
        ? { ...identity, enable_sasl_external: true }
        : options.anonymous === true
          ? {}
          : { username: endpoint.user, password: endpoint.password };
    // rhea keeps the WebSocket to itself; `abort` needs it.
    let webSocket: WebSocket | undefined;
    const Kept = class extends WebSocket {
      constructor(...args: ConstructorParameters<typeof WebSocket>) {
        super(...args);
        webSocket = this;
      }
    };
    const { host, port, tls } = endpoint;
    const trust = tls === undefined ? {} : { ca: tls.pem };
    const transport =
      options.webSocket === true
        ? {
            connection_details: container.websocket_connect(Kept)(
              `${tls === undefined ? "ws" : "wss"}://${host}:${port}/amqp`,
              ["amqp"],
              trust,
            ),
          }
        : { host, port, ...(tls === undefined ? {} : { transport: "tls", ...trust }) };
    const connection = container.connect({
      ...transport,
      ...login,
      reconnect: false,
      ...(options.namespace === undefined ? {} : { hostname: `vhost:${options.namespace}` }),
      ...(options.idleTimeoutMs === undefined ? {} : { idle_time_out: options.idleTimeoutMs }),
      ...(options.maxFrameSize === undefined ? {} : { max_frame_size: options.maxFrameSize }),
    } as Parameters<typeof container.connect>[0]);
    const peer = new RheaPeer(connection, id);
    await peer.until("connection open", OPEN_LIMIT_MS, (resolve) => {
      connection.once("connection_open", () => resolve(undefined));
    });
    peer.#webSocket = webSocket;
    return peer;
  }

  /** What ended the connection, if something did. */
  get error(): unknown {
    return this.#error;
  }

  /** Waits for an event, for the connection's end or for the limit, whichever comes first. */
  until<T>(
    what: string,
    limitMs: number,
    start: (resolve: (value: T) => void) => void,
  ): Promise<T> {
    let fail: (error: unknown) => void = () => undefined;
    const promise = new Promise<T>((resolve, reject) => {
      if (this.#error !== undefined) reject(this.#error);
      fail = reject;
      this.#waiting.add(fail);
      start(resolve);
    });
    return within(limitMs, promise, what).finally(() => this.#waiting.delete(fail));
  }

  #broken(error: unknown): void {
    this.#error ??= error;
    for (const fail of this.#waiting) fail(error);
    this.#waiting.clear();
  }

  async sender(
    target: string | SenderOptions,
    kind: "queue" | "topic" | undefined = "queue",
  ): Promise<RheaSender> {
    const options: SenderOptions =
      typeof target === "string" ? { target: { address: target, ...capability(kind) } } : target;
    const link = this.connection.open_sender(options);
    const sender = new RheaSender(this, link);
    await this.#opened(link, "sender", () => link.target?.address != null || isAnonymous(options));
    return sender;
  }

  async receiver(
    source: string | ReceiverOptions,
    kind: "queue" | "topic" | undefined = "queue",
  ): Promise<RheaReceiver> {
    const options: ReceiverOptions =
      typeof source === "string" ? { source: { address: source, ...capability(kind) } } : source;
    const link = this.connection.open_receiver({
      credit_window: 0,
      autoaccept: false,
      autosettle: true,
      ...options,
    });
    const receiver = new RheaReceiver(this, link);
    await this.#opened(link, "receiver", () => link.source?.address != null);
    return receiver;
  }

  /** Attach answered with a terminus, or rejected with the error of the detach that refuses the link. */
  async #opened(link: Sender | Receiver, role: string, accepted: () => boolean): Promise<void> {
    await this.until<void>(`${role} open`, OPEN_LIMIT_MS, (resolve) => {
      link.once(`${role}_open`, () => {
        if (accepted()) resolve();
      });
      link.once(`${role}_error`, () => {
        for (const fail of this.#waiting) fail(link.error);
      });
    });
  }

  async close(): Promise<void> {
    if (this.#error !== undefined || this.#isClosed) return;
    this.#isClosed = true;
    const closed = this.until<void>("connection close", OPEN_LIMIT_MS, (resolve) => {
      this.connection.once("connection_close", () => resolve());
    });
    this.connection.close();
    await closed.catch(() => undefined);
  }

  /** Cuts the socket without any goodbye. */
  abort(): void {
    this.#isClosed = true;
    if (this.#webSocket !== undefined) {
      this.#webSocket.terminate();
      return;
    }
    const { socket } = this.connection as unknown as { socket: Socket };
    socket.destroy();
  }
}

const isAnonymous = (options: LinkOptions): boolean => {
  const target = (options as SenderOptions).target;
  return typeof target === "object" && target !== null && target.address === undefined;
};

export const capability = (kind: string | undefined): { capabilities?: string[] } =>
  kind === undefined ? {} : { capabilities: [kind] };

let lastId = 0;
export const nextId = (): number => ++lastId;

export interface Settled {
  readonly outcome: Outcome;
  readonly delivery: Delivery;
}

export class RheaSender {
  readonly link: Sender;
  readonly #peer: RheaPeer;
  readonly #waiting = new Map<Delivery, (settled: Settled) => void>();

  constructor(peer: RheaPeer, link: Sender) {
    this.#peer = peer;
    this.link = link;
    for (const outcome of ["accepted", "rejected", "released", "modified"] as const) {
      link.on(outcome, (context: EventContext) => {
        const delivery = context.delivery;
        if (delivery === undefined) return;
        this.#waiting.get(delivery)?.({ outcome, delivery });
        this.#waiting.delete(delivery);
      });
    }
  }

  /** The address the broker gave to a dynamic target. */
  get address(): string {
    return this.link.target.address as string;
  }

  get isBroken(): boolean {
    return this.#peer.error !== undefined;
  }

  /** Sends when there is credit; resolves when the broker has settled it. */
  async send(message: Message, limitMs = 20_000): Promise<Settled> {
    await this.#credit(limitMs);
    return this.#peer.until<Settled>("disposition", limitMs, (resolve) => {
      this.#waiting.set(this.link.send(message), resolve);
    });
  }

  /** Sends and expects `accepted`. */
  async deliver(message: Message): Promise<void> {
    const { outcome, delivery } = await this.send(message);
    if (outcome !== "accepted") {
      throw new Error(`sent message was ${outcome}: ${JSON.stringify(delivery.remote_state)}`);
    }
  }

  /** Sends many without waiting for each; resolves when all of them were accepted. */
  async deliverAll(count: number, make: (index: number) => Message): Promise<void> {
    const pending: Promise<void>[] = [];
    for (let index = 0; index < count; index++) {
      await this.#credit(20_000);
      const delivered = this.deliver(make(index));
      // Awaited below; until then a failure is not yet anybody's.
      delivered.catch(() => undefined);
      pending.push(delivered);
      // Gives rhea a turn to write what it has.
      if (index % 100 === 99) await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(pending);
  }

  async #credit(limitMs: number): Promise<void> {
    if (this.link.sendable()) return;
    await this.#peer.until<void>("credit", limitMs, (resolve) => {
      this.link.once("sendable", () => resolve());
    });
  }

  async close(): Promise<void> {
    const closed = this.#peer.until<void>("sender close", OPEN_LIMIT_MS, (resolve) => {
      this.link.once("sender_close", () => resolve());
    });
    this.link.close();
    await closed;
  }
}

export interface Received {
  readonly message: Message;
  readonly delivery: Delivery;
}

export class RheaReceiver {
  readonly link: Receiver;
  readonly #peer: RheaPeer;
  readonly #queue: Received[] = [];
  readonly #settling = new Map<Delivery, () => void>();
  #each: ((received: Received) => void) | undefined;
  #wake: (() => void) | undefined;

  constructor(peer: RheaPeer, link: Receiver) {
    this.#peer = peer;
    this.link = link;
    link.on("message", (context: EventContext) => {
      if (context.message === undefined || context.delivery === undefined) return;
      const received = { message: context.message, delivery: context.delivery };
      if (this.#each !== undefined) {
        this.#each(received);
        return;
      }
      this.#queue.push(received);
      this.#wake?.();
    });
  }

  get address(): string {
    return this.link.source.address as string;
  }

  /** Messages that have come and were not asked for. */
  get pending(): number {
    return this.#queue.length;
  }

  /** Grants one credit when nothing is pending, and waits for a message. */
  async next(limitMs = 15_000): Promise<Received> {
    if (this.#queue.length === 0) this.link.add_credit(1);
    return this.take(limitMs);
  }

  /** Waits for a message without granting credit. */
  async take(limitMs = 15_000): Promise<Received> {
    if (this.#queue.length === 0) {
      await this.#peer.until<void>("message", limitMs, (resolve) => {
        this.#wake = resolve;
      });
    }
    this.#wake = undefined;
    const received = this.#queue.shift();
    if (received === undefined) throw new Error("woken without a message");
    return received;
  }

  /** The next `count` messages, accepted, credit granted for exactly those. */
  async acceptAll(count: number, limitMs = 20_000): Promise<Message[]> {
    const messages: Message[] = [];
    this.link.add_credit(Math.max(0, count - this.#queue.length));
    while (messages.length < count) {
      const { message, delivery } = await this.take(limitMs);
      delivery.accept();
      messages.push(message);
    }
    return messages;
  }

  /** Hands over every message as it comes, with a window of credit kept open. */
  each(credit: number, onMessage: (received: Received) => void): void {
    this.#each = onMessage;
    this.link.set_credit_window(credit);
    this.link.add_credit(credit);
  }

  /** Calls back once the broker has settled this delivery (receiver settle mode second). */
  onSettled(delivery: Delivery, callback: () => void): void {
    if (this.#settling.size === 0 && this.link.listenerCount("settled") === 0) {
      this.link.on("settled", (context: EventContext) => {
        const settled = context.delivery;
        if (settled === undefined) return;
        this.#settling.get(settled)?.();
        this.#settling.delete(settled);
      });
    }
    this.#settling.set(delivery, callback);
  }

  /** Drains: everything the broker has now for this credit, then its word that there is no more. */
  async drain(credit: number): Promise<Received[]> {
    const drained = this.#peer.until<void>("drained", OPEN_LIMIT_MS, (resolve) => {
      this.link.once("receiver_drained", () => resolve());
    });
    this.link.drain = true;
    this.link.add_credit(credit);
    await drained;
    this.link.drain = false;
    return this.#queue.splice(0);
  }

  /** Fails when the broker still has something for us. */
  async expectEmpty(): Promise<void> {
    const extra = await this.drain(10);
    if (extra.length > 0) {
      throw new Error(
        `expected no more messages, got ${extra.length}: ${textOf(extra[0]!.message)}`,
      );
    }
  }

  /** Closes for good; a durable subscription is deleted by this. */
  async close(): Promise<void> {
    const closed = this.#peer.until<void>("receiver close", OPEN_LIMIT_MS, (resolve) => {
      this.link.once("receiver_close", () => resolve());
    });
    this.link.close();
    await closed;
  }

  /** Leaves and keeps what is durable. */
  detach(): void {
    this.link.detach();
  }
}

export const textOf = (message: Message): string => {
  const body: unknown = message.body;
  if (typeof body === "string") return body;
  const content = (body as { content?: unknown } | undefined)?.content;
  if (Buffer.isBuffer(content)) return content.toString("utf8");
  return String(body);
};
