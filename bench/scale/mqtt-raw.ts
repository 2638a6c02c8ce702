/** As little of MQTT 3.1.1 as a scale run needs: one socket, packets made by hand, answers counted. */
import { connect, type Socket } from "node:net";

const text = (value: string): Buffer => {
  const bytes = Buffer.from(value, "utf8");
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
};

function packet(head: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const length: number[] = [];
  let rest = body.length;
  do {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>= 7;
  } while (rest > 0);
  return Buffer.concat([Buffer.from([head, ...length]), body]);
}

const number = (value: number): Buffer => Buffer.from([(value >> 8) & 0xff, value & 0xff]);

export const publishPacket = (
  topic: string,
  payload: Buffer,
  id: number,
  isRetained = false,
): Buffer =>
  id === 0
    ? packet(0x30 | (isRetained ? 1 : 0), text(topic), payload)
    : packet(0x32 | (isRetained ? 1 : 0), text(topic), number(id), payload);

export const subscribePacket = (filters: readonly string[], id: number): Buffer =>
  packet(
    0x82,
    number(id),
    ...filters.map((filter) => Buffer.concat([text(filter), Buffer.from([1])])),
  );

export class RawMqtt {
  readonly #socket: Socket;
  /** Packets received, by type. */
  readonly counts = new Array<number>(16).fill(0);
  #kept: Buffer = Buffer.alloc(0);
  #onPacket: (() => void) | null = null;
  /** Answers PUBLISH of QoS 1. */
  isAcking = true;

  constructor(port: number) {
    this.#socket = connect({ host: "127.0.0.1", port, noDelay: true });
    this.#socket.on("data", (chunk) => this.#take(chunk));
    this.#socket.on("error", () => {});
  }

  #take(chunk: Buffer): void {
    const bytes = this.#kept.length === 0 ? chunk : Buffer.concat([this.#kept, chunk]);
    const acks: Buffer[] = [];
    let at = 0;
    for (;;) {
      let length = 0;
      let shift = 0;
      let head = at + 1;
      for (; head < bytes.length; head++, shift += 7) {
        length |= (bytes[head]! & 0x7f) << shift;
        if (bytes[head]! < 0x80) break;
      }
      if (head >= bytes.length || head + 1 + length > bytes.length) break;
      const type = bytes[at]! >> 4;
      this.counts[type]!++;
      if (type === 3 && (bytes[at]! & 6) === 2 && this.isAcking) {
        const idAt = head + 3 + bytes.readUInt16BE(head + 1);
        acks.push(Buffer.from([0x40, 2, bytes[idAt]!, bytes[idAt + 1]!]));
      }
      at = head + 1 + length;
    }
    this.#kept = bytes.subarray(at);
    if (acks.length > 0) this.#socket.write(Buffer.concat(acks));
    this.#onPacket?.();
  }

  async open(clientId: string, isClean = true): Promise<void> {
    this.send(packet(0x10, text("MQTT"), Buffer.from([4, isClean ? 2 : 0, 0, 0]), text(clientId)));
    await this.until(() => this.counts[2]! > 0);
  }

  /** False: the socket's buffer is full, wait for `drained`. */
  send(bytes: Buffer): boolean {
    return this.#socket.write(bytes);
  }
  drained(): Promise<void> {
    return new Promise((resolve) => this.#socket.once("drain", () => resolve()));
  }

  until(isDone: () => boolean, limitMs = 120_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("scale: no answer in time")), limitMs);
      const look = (): void => {
        if (!isDone()) return;
        clearTimeout(timer);
        this.#onPacket = null;
        resolve();
      };
      this.#onPacket = look;
      look();
    });
  }

  /** DISCONNECT: the session stays if it was not clean. */
  leave(): void {
    this.#socket.end(Buffer.from([0xe0, 0]));
  }
  destroy(): void {
    this.#socket.destroy();
  }
}
