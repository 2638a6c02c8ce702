/** @stomp/stompjs behind promises, over a WebSocket or over TCP. The library is unmodified. */
import { createConnection, type Socket } from "node:net";
import {
  Client,
  type IMessage,
  type IStompSocket,
  StompSocketState,
  Versions,
} from "@stomp/stompjs";
import { WebSocket } from "ws";
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

/** A TCP connection that looks like a WebSocket to the library. */
class TcpSocket implements IStompSocket {
  readonly url: string;
  binaryType: "arraybuffer" = "arraybuffer";
  onclose: ((event?: unknown) => unknown) | undefined = undefined;
  onerror: ((event: unknown) => unknown) | undefined = undefined;
  onmessage: ((event: { data: string | ArrayBuffer }) => unknown) | undefined = undefined;
  onopen: ((event?: unknown) => unknown) | undefined = undefined;
  readyState: StompSocketState = StompSocketState.CONNECTING;
  readonly #socket: Socket;

  constructor(host: string, port: number) {
    this.url = `tcp://${host}:${port}`;
    this.#socket = createConnection({ host, port });
    this.#socket.on("connect", () => {
      this.readyState = StompSocketState.OPEN;
      this.onopen?.();
    });
    this.#socket.on("data", (bytes) => {
      const { buffer, byteOffset, byteLength } = bytes;
      const data = (buffer as ArrayBuffer).slice(byteOffset, byteOffset + byteLength);
      this.onmessage?.({ data });
    });
    this.#socket.on("error", (error) => this.onerror?.(error));
    this.#socket.on("close", () => {
      this.readyState = StompSocketState.CLOSED;
      this.onclose?.({ code: 1000, reason: "", wasClean: true });
    });
  }

  send(data: string | ArrayBuffer): void {
    this.#socket.write(typeof data === "string" ? data : new Uint8Array(data));
  }
  close(): void {
    this.#socket.end();
  }
  terminate(): void {
    this.#socket.destroy();
  }
}

export interface StompjsOptions extends ConnectOptions {
  readonly webSocket?: boolean;
}

export class Stompjs implements StompClient {
  readonly connectedHeaders: Headers;
  readonly #client: Client;
  readonly #socket: () => IStompSocket;
  readonly #failure: Promise<string>;
  /** What waits for a receipt. */
  readonly #waiting = new Set<(error: Error) => void>();
  #receipts = 0;

  private constructor(client: Client, socket: () => IStompSocket, headers: Headers) {
    this.#client = client;
    this.#socket = socket;
    this.connectedHeaders = headers;
    this.#failure = new Promise((resolve) => {
      client.onStompError = ({ headers: { message }, body }) => {
        resolve(`${message}: ${body}`);
        this.#broken(new Error(message));
      };
    });
    client.onWebSocketClose = () => this.#broken(new Error("the connection is gone"));
    client.onUnhandledMessage = (message) =>
      this.#implicit.get(message.headers["subscription"] ?? "")?.(message);
  }

  #fill(inbox: Inbox): (message: IMessage) => void {
    return (message) =>
      inbox.add({
        headers: message.headers,
        body: Buffer.from(message.binaryBody),
        ack: (headers) => message.ack({ ...headers }),
        acknowledge: () => this.#receipt("receipt of ACK", (receipt) => message.ack({ receipt })),
        nack: (headers) => message.nack({ ...headers }),
      });
  }
  readonly #implicit = new Map<string, (message: IMessage) => void>();

  static async connect(endpoint: Endpoint, options: StompjsOptions = {}): Promise<Stompjs> {
    const { host, port, user, password, tls } = endpoint;
    const scheme = tls === undefined ? "ws" : "wss";
    const trust = tls === undefined ? {} : { ca: tls.pem, ...tls.identity };
    const {
      "accept-version": version,
      "heart-beat": _,
      ...headers
    } = connectHeaders(user, password, { ...options, isKnown: tls?.identity !== undefined });
    let socket: IStompSocket | undefined;
    const client = new Client({
      webSocketFactory: () => {
        socket =
          options.webSocket === true
            ? (new WebSocket(
                `${scheme}://${host}:${port}/stomp`,
                [`v${version!.replace(".", "")}.stomp`],
                trust,
              ) as unknown as IStompSocket)
            : new TcpSocket(host, port);
        return socket;
      },
      connectHeaders: headers,
      stompVersions: new Versions([version!]),
      heartbeatIncoming: options.heartbeatMs ?? 0,
      heartbeatOutgoing: options.heartbeatMs ?? 0,
      reconnectDelay: 0,
      forceBinaryWSFrames: options.webSocket !== true,
    });
    const connected = new Promise<Stompjs>((resolve, reject) => {
      client.onConnect = (frame) => resolve(new Stompjs(client, () => socket!, frame.headers));
      client.onStompError = (frame) =>
        reject(new Error(`${frame.headers["message"]}: ${frame.body}`));
      client.onWebSocketError = (event: unknown) =>
        reject((event as { error?: Error }).error ?? new Error("socket error"));
    });
    client.activate();
    return within(LIMIT_MS, connected, "stompjs connects");
  }

  #receipt(what: string, start: (receipt: string) => void): Promise<void> {
    let fail: ((error: Error) => void) | undefined;
    const promise = new Promise<void>((resolve, reject) => {
      const id = `r-${++this.#receipts}`;
      fail = reject;
      this.#waiting.add(reject);
      this.#client.watchForReceipt(id, () => resolve());
      start(id);
    });
    return within(LIMIT_MS, promise, what).finally(() => this.#waiting.delete(fail!));
  }

  #broken(error: Error): void {
    for (const fail of this.#waiting) fail(error);
    this.#waiting.clear();
  }

  send(destination: string, body: string | Buffer, headers: Headers = {}): Promise<void> {
    return this.#receipt("receipt of SEND", (receipt) => {
      const content = typeof body === "string" ? { body } : { binaryBody: new Uint8Array(body) };
      const skipContentLengthHeader = headers["content-length"] === "none";
      const { "content-length": __, ...rest } = headers;
      this.#client.publish({
        destination,
        headers: { ...rest, receipt },
        skipContentLengthHeader,
        ...content,
      });
    });
  }

  async subscribe(destination: string, headers: Headers = {}): Promise<Inbox> {
    const inbox = new Inbox();
    let opened: { unsubscribe(headers?: Record<string, string>): void } | undefined;
    await this.#receipt("receipt of SUBSCRIBE", (receipt) => {
      opened = this.#client.subscribe(destination, this.#fill(inbox), { ...headers, receipt });
    });
    return inbox.onUnsubscribe((more) =>
      this.#receipt("receipt of UNSUBSCRIBE", (receipt) =>
        opened!.unsubscribe({ ...more, receipt }),
      ),
    );
  }

  expect(subscription: string): Inbox {
    const inbox = new Inbox();
    this.#implicit.set(subscription, this.#fill(inbox));
    return inbox;
  }

  begin(): TransactionHandle {
    const transaction = this.#client.begin();
    // The library sends COMMIT and ABORT without a receipt: the next frame's covers them.
    return {
      id: transaction.id,
      commit: () => {
        transaction.commit();
        return this.settled();
      },
      abort: () => {
        transaction.abort();
        return this.settled();
      },
    };
  }

  settled(): Promise<void> {
    return this.#receipt("receipt of UNSUBSCRIBE", (receipt) => {
      const opened = this.#client.subscribe("/temp-queue/settled", () => undefined, {});
      opened.unsubscribe({ receipt });
    });
  }

  disconnect(): Promise<void> {
    return within(LIMIT_MS, this.#client.deactivate(), "stompjs disconnects");
  }

  drop(): void {
    this.#socket().terminate?.();
  }

  failure(): Promise<string> {
    return within(LIMIT_MS, this.#failure, "an ERROR frame");
  }
}
