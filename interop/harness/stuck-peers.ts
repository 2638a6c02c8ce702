/**
 * Peers that behave badly, as plain sockets: subscribers that stop reading, clients that begin something and do not go on,
 * senders of a byte now and then. They say no more than they have to, so that what they cost is the broker's.
 */
import { connect, type Socket } from "node:net";
import rhea from "rhea";
import type { Endpoint } from "./broker-process.ts";
import { within } from "./step.ts";

const LIMIT_MS = 10_000;
/** Credit that never runs out. */
const CREDIT = 1_000_000_000;

export class StuckPeers {
  readonly #endpoint: Endpoint;
  readonly #sockets: Socket[] = [];
  /** Connections that the broker ended. */
  closed = 0;

  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint;
  }

  get count(): number {
    return this.#sockets.length;
  }

  /** A subscriber that takes the answer to its subscription, and nothing after it. */
  async mqttSubscriber(clientId: string, topic: string, qos: 0 | 1 | 2): Promise<void> {
    const socket = await this.mqttClient(clientId, 0);
    const filter = Buffer.concat([string(topic), Buffer.from([qos])]);
    socket.write(packet(0x82, Buffer.concat([Buffer.from([0, 1]), filter])));
    await answer(socket, `SUBACK for ${clientId}`);
    socket.pause();
  }

  async mqttClient(clientId: string, keepAliveSeconds: number): Promise<Socket> {
    const socket = await this.open();
    socket.write(mqttConnect(clientId, keepAliveSeconds));
    await answer(socket, `CONNACK for ${clientId}`);
    return socket;
  }

  async stompClient(heartbeatMs: number): Promise<Socket> {
    const socket = await this.open();
    const beats = `${heartbeatMs},${heartbeatMs}`;
    socket.write(`CONNECT\naccept-version:1.2\nhost:/\nheart-beat:${beats}\n\n\0`);
    await answer(socket, "CONNECTED");
    return socket;
  }

  async stompSubscriber(destination: string): Promise<void> {
    const socket = await this.stompClient(0);
    socket.write(`SUBSCRIBE\nid:1\ndestination:${destination}\nreceipt:r\n\n\0`);
    await answer(socket, "RECEIPT");
    socket.pause();
  }

  async amqpSubscriber(address: string): Promise<void> {
    const { host, port, user, password } = this.#endpoint;
    const connection = rhea
      .create_container()
      .connect({ host, port, username: user, password, reconnect: false });
    connection.on("error", () => undefined);
    connection.on("disconnected", () => this.closed++);
    const receiver = connection.open_receiver({ source: { address }, credit_window: 0 });
    const opened = new Promise<void>((resolve) => receiver.once("receiver_open", () => resolve()));
    await within(LIMIT_MS, opened, `attach of ${address}`);
    receiver.add_credit(CREDIT);
    const socket = (connection as unknown as { socket: Socket }).socket;
    this.#sockets.push(socket);
    // The credit is written at the end of this turn.
    await new Promise((resolve) => setTimeout(resolve, 20));
    socket.pause();
  }

  /** Says this, and nothing more. */
  async silentAfter(bytes: Uint8Array | string): Promise<Socket> {
    const socket = await this.open();
    if (bytes.length > 0) socket.write(bytes);
    // It hears the end.
    socket.resume();
    return socket;
  }

  /** Writes `bytes` one by one. Returns how to stop it. */
  trickle(socket: Socket, bytes: Uint8Array, everyMs: number): () => void {
    socket.resume();
    let at = 0;
    const timer = setInterval(() => {
      if (!socket.destroyed)
        socket.write(bytes.subarray(at % bytes.length, (at % bytes.length) + 1));
      at++;
    }, everyMs);
    return () => clearInterval(timer);
  }

  async open(): Promise<Socket> {
    const { host, port } = this.#endpoint;
    const socket = connect(port, host);
    this.#sockets.push(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => this.closed++);
    const opened = new Promise<void>((resolve) => socket.once("connect", () => resolve()));
    await within(LIMIT_MS, opened, "TCP connection");
    return socket;
  }

  end(): void {
    for (const socket of this.#sockets.splice(0)) socket.destroy();
  }
}

const answer = (socket: Socket, what: string): Promise<void> =>
  within(LIMIT_MS, new Promise<void>((resolve) => socket.once("data", () => resolve())), what);

function string(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
}

/** The first bytes of a MQTT packet whose body has this length. */
export function packetHead(type: number, length: number): Buffer {
  const head = [type];
  for (let rest = length; ; ) {
    const digit = rest % 128;
    rest = Math.floor(rest / 128);
    head.push(rest > 0 ? digit | 128 : digit);
    if (rest === 0) return Buffer.from(head);
  }
}

export const packet = (type: number, body: Buffer): Buffer =>
  Buffer.concat([packetHead(type, body.length), body]);

export const mqttConnect = (clientId: string, keepAliveSeconds: number): Buffer =>
  packet(
    0x10,
    Buffer.concat([
      string("MQTT"),
      Buffer.from([4, 2, keepAliveSeconds >> 8, keepAliveSeconds & 255]),
      string(clientId),
    ]),
  );
