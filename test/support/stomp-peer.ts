/** A STOMP client for tests, over a wire in memory: sends text, hands back decoded frames. */
import { createAdapter } from "../../protocols/stomp/adapter.ts";
import { commandName } from "../../protocols/stomp/codec/commands.ts";
import { FrameParser } from "../../protocols/stomp/codec/frame-parser.ts";
import type { StompVersion } from "../../protocols/stomp/codec/header-escape.ts";
import type { StompOptions } from "../../protocols/stomp/options.ts";
import type { Authenticator } from "../../src/security/authenticator.ts";
import { ANONYMOUS } from "../../src/security/principal.ts";
import { SILENT } from "../../src/telemetry/log.ts";
import { MemoryWire, type MemoryWireOptions } from "../../src/transport/memory-wire.ts";
import type { ProtocolAdapter } from "../../src/transport/wire.ts";
import type { TestBroker } from "./test-broker.ts";
import { until } from "./wait.ts";

export interface Frame {
  readonly command: string;
  /** First of each name. */
  readonly headers: Readonly<Record<string, string>>;
  readonly lines: ReadonlyArray<readonly [string, string]>;
  readonly body: Buffer;
}

/** Everybody is let in as who they say, except with the password "wrong". */
export const TEST_AUTHENTICATOR: Authenticator = {
  mechanismsFor: () => [],
  startSasl: () => undefined,
  checkPassword: async (user, password) =>
    password === "wrong" ? undefined : { name: user, isAnonymous: false, mechanism: "password" },
  withoutCredentials: () => ANONYMOUS,
};

export function stompAdapter(
  test: TestBroker,
  settings: Partial<StompOptions> = {},
  authenticator: Authenticator = TEST_AUTHENTICATOR,
): ProtocolAdapter {
  return createAdapter({ broker: test.broker, authenticator, logger: SILENT }, settings);
}

export class StompPeer {
  readonly wire: MemoryWire;
  readonly frames: Frame[] = [];
  readonly #parser = new FrameParser("server");
  #rest = Buffer.alloc(0);

  constructor(test: TestBroker, adapter: ProtocolAdapter, options: MemoryWireOptions = {}) {
    this.wire = MemoryWire.open(adapter, {
      turn: test.turn,
      ...options,
      onOutput: (bytes) => this.#receive(bytes),
    });
  }

  /** Opened and connected. */
  static async connect(
    test: TestBroker,
    version: StompVersion | null = 12,
    options: {
      settings?: Partial<StompOptions>;
      headers?: string;
      wire?: MemoryWireOptions;
    } = {},
  ): Promise<StompPeer> {
    const peer = new StompPeer(test, stompAdapter(test, options.settings), options.wire);
    const accept = version === null ? "" : `accept-version:${(version / 10).toFixed(1)}\n`;
    peer.send(`CONNECT\n${accept}host:/\n${options.headers ?? ""}\n\0`);
    await peer.take("CONNECTED");
    if (version !== null) peer.#parser.version = version;
    return peer;
  }

  /** The version of what comes, where the test negotiates by itself. */
  speak(version: StompVersion): void {
    this.#parser.version = version;
  }

  send(bytes: string | Uint8Array, pieceBytes?: number): void {
    this.wire.send(typeof bytes === "string" ? Buffer.from(bytes) : bytes, pieceBytes);
  }

  /** The next frame that is not taken yet; it has to be of this command. */
  async take(command: string): Promise<Frame> {
    await until(`a ${command} frame`, () => this.frames.length > 0, 20_000);
    const frame = this.frames.shift()!;
    if (frame.command !== command) {
      throw new Error(`expected ${command}, got ${describe(frame)}`);
    }
    return frame;
  }

  /** As many MESSAGE frames. */
  async takeMessages(count: number): Promise<Frame[]> {
    const messages: Frame[] = [];
    while (messages.length < count) messages.push(await this.take("MESSAGE"));
    return messages;
  }

  /** Sends a frame with a receipt and waits for it: all before it was handled. */
  async settled(): Promise<void> {
    const id = `settled-${++this.#receipts}`;
    this.send(`BEGIN\ntransaction:${id}\nreceipt:${id}\n\n\0ABORT\ntransaction:${id}\n\n\0`);
    await until(`receipt ${id}`, () =>
      this.frames.some((frame) => frame.headers["receipt-id"] === id),
    );
    const at = this.frames.findIndex((frame) => frame.headers["receipt-id"] === id);
    this.frames.splice(at, 1);
  }
  #receipts = 0;

  async closed(): Promise<void> {
    await until("the broker ends the connection", () => this.wire.isOver, 20_000);
  }

  #receive(bytes: Buffer): void {
    const parser = this.#parser;
    const all = Buffer.concat([this.#rest, bytes]);
    let at = 0;
    for (;;) {
      const next = parser.next(all, at, all.length);
      if (next < 0) break;
      const lines: Array<readonly [string, string]> = [];
      const headers: Record<string, string> = {};
      for (let i = 0; i < parser.headerCount; i++) {
        const line = [parser.nameAt(all, i), parser.valueAt(all, i)] as const;
        lines.push(line);
        headers[line[0]] ??= line[1];
      }
      this.frames.push({
        command: commandName(parser.command),
        headers,
        lines,
        body: Buffer.from(
          all.subarray(parser.base + parser.bodyStart, parser.base + parser.bodyEnd),
        ),
      });
      at = next;
    }
    this.#rest = Buffer.from(all.subarray(parser.rest));
  }
}

export const describe = (frame: Frame): string =>
  `${frame.command} ${JSON.stringify(frame.headers)} ${frame.body.toString()}`;
