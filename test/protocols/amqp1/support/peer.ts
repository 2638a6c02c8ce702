/** An AMQP 1.0 client for tests, over a wire in memory: sends frames, hands back decoded ones. */
import { createAdapter } from "../../../../protocols/amqp1/adapter.ts";
import { PERFORMATIVE, SECTION } from "../../../../protocols/amqp1/codec/codes.ts";
import { Decoder, descriptorNumber } from "../../../../protocols/amqp1/codec/decode.ts";
import { Encoder, encodeValue } from "../../../../protocols/amqp1/codec/encode.ts";
import {
  binary,
  bool,
  composite,
  described,
  map,
  NULL,
  string,
  symbol,
  symbols,
  ubyte,
  uint,
  ushort,
  type Value,
} from "../../../../protocols/amqp1/codec/value.ts";
import type { Amqp1Settings } from "../../../../protocols/amqp1/settings.ts";
import type { Authenticator } from "../../../../src/security/authenticator.ts";
import { ANONYMOUS } from "../../../../src/security/principal.ts";
import { type Logger, SILENT } from "../../../../src/telemetry/log.ts";
import { MemoryWire, type MemoryWireOptions } from "../../../../src/transport/memory-wire.ts";
import type { ProtocolAdapter } from "../../../../src/transport/wire.ts";
import type { TestBroker } from "../../../support/test-broker.ts";
import { until } from "../../../support/wait.ts";

export const AMQP_HEADER = Buffer.from("AMQP\x00\x01\x00\x00", "latin1");
export const SASL_HEADER = Buffer.from("AMQP\x03\x01\x00\x00", "latin1");

/** Everybody is let in: without credentials as nobody, with PLAIN as who they say unless the password is "wrong". */
export const TEST_AUTHENTICATOR: Authenticator = {
  mechanismsFor: () => ["PLAIN", "ANONYMOUS"],
  startSasl: (mechanism) =>
    mechanism === "ANONYMOUS"
      ? { step: () => ({ kind: "success", principal: ANONYMOUS }) }
      : mechanism === "PLAIN"
        ? {
            step: (response) => {
              if (response.length === 0) return { kind: "challenge", data: Buffer.alloc(0) };
              const [, user, password] = response.toString().split("\0");
              return password === "wrong"
                ? { kind: "failure", isTemporary: false }
                : {
                    kind: "success",
                    principal: { name: user!, isAnonymous: false, mechanism: "PLAIN" },
                  };
            },
          }
        : undefined,
  checkPassword: async () => undefined,
  withoutCredentials: () => ANONYMOUS,
};

export interface PeerFrame {
  readonly type: number;
  readonly channel: number;
  /** Descriptor of the performative; -1 for a heart-beat. */
  readonly code: number;
  readonly fields: readonly Value[];
  readonly payload: Buffer;
}

export interface PeerOptions {
  readonly settings?: Partial<Amqp1Settings>;
  readonly authenticator?: Authenticator;
  readonly wire?: MemoryWireOptions;
  readonly logger?: Logger;
}

export function amqpAdapter(test: TestBroker, options: PeerOptions = {}): ProtocolAdapter {
  return createAdapter(
    {
      broker: test.broker,
      authenticator: options.authenticator ?? TEST_AUTHENTICATOR,
      logger: options.logger ?? SILENT,
    },
    options.settings ?? {},
  );
}

let container = 0;

export class AmqpPeer {
  readonly wire: MemoryWire;
  readonly frames: PeerFrame[] = [];
  readonly headers: Buffer[] = [];
  #rest = Buffer.alloc(0);
  readonly #encoder = new Encoder();
  #nextOutgoingId = 0;
  #nextDeliveryId = 0;

  constructor(test: TestBroker, options: PeerOptions = {}, adapter = amqpAdapter(test, options)) {
    this.wire = MemoryWire.open(adapter, {
      turn: test.turn,
      ...options.wire,
      onOutput: (bytes) => this.#receive(bytes),
    });
  }

  /** Open, with one session on channel 0. */
  static async connect(
    test: TestBroker,
    options: PeerOptions & { open?: Value; adapter?: ProtocolAdapter } = {},
  ): Promise<AmqpPeer> {
    const peer = new AmqpPeer(test, options, options.adapter ?? amqpAdapter(test, options));
    peer.wire.send(AMQP_HEADER);
    peer.send(options.open ?? open());
    peer.begin();
    await peer.next(PERFORMATIVE.OPEN);
    await peer.next(PERFORMATIVE.BEGIN);
    return peer;
  }

  #receive(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    for (;;) {
      if (this.#rest.length < 8) return;
      if (this.#rest.toString("latin1", 0, 4) === "AMQP") {
        this.headers.push(this.#rest.subarray(0, 8));
        this.#rest = this.#rest.subarray(8);
        continue;
      }
      const size = this.#rest.readUInt32BE(0);
      if (this.#rest.length < size) return;
      const frame = this.#rest.subarray(0, size);
      this.#rest = this.#rest.subarray(size);
      const channel = frame.readUInt16BE(6);
      const start = frame[4]! * 4;
      if (start === size) {
        this.frames.push({
          type: frame[5]!,
          channel,
          code: -1,
          fields: [],
          payload: Buffer.alloc(0),
        });
        continue;
      }
      const decoder = new Decoder(frame, start, size);
      const performative = decoder.value();
      if (performative.type !== "described" || performative.value.type !== "list") {
        throw new Error("the broker sent something that is no performative");
      }
      this.frames.push({
        type: frame[5]!,
        channel,
        code: descriptorNumber(performative.descriptor),
        fields: performative.value.value,
        payload: frame.subarray(decoder.at),
      });
    }
  }

  /** Waits for the next frame with this descriptor; those before it are dropped. */
  async next(code: number, reason = `a frame 0x${code.toString(16)}`): Promise<PeerFrame> {
    await until(reason, () => this.frames.some((frame) => frame.code === code));
    const at = this.frames.findIndex((frame) => frame.code === code);
    return this.frames.splice(0, at + 1)[at]!;
  }

  /** Waits for so many transfers; returns them, leaves the rest. */
  async transfers(count: number): Promise<PeerFrame[]> {
    const isTransfer = (frame: PeerFrame): boolean => frame.code === PERFORMATIVE.TRANSFER;
    await until(`${count} transfers`, () => this.frames.filter(isTransfer).length >= count);
    const taken: PeerFrame[] = [];
    for (let i = 0; i < this.frames.length && taken.length < count; ) {
      if (isTransfer(this.frames[i]!)) taken.push(this.frames.splice(i, 1)[0]!);
      else i++;
    }
    return taken;
  }

  has(code: number): boolean {
    return this.frames.some((frame) => frame.code === code);
  }

  /** The broker has taken everything sent so far and done what its turn asked for. */
  async settled(): Promise<void> {
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
  }

  // ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────

  frame(performative: Value, channel = 0, payload: Uint8Array = Buffer.alloc(0), type = 0): Buffer {
    const encoder = this.#encoder.reset();
    encoder.frame(type, channel, performative);
    encoder.raw(payload);
    encoder.buffer.writeUInt32BE(encoder.at, 0);
    return Buffer.from(encoder.bytes());
  }

  send(performative: Value, channel = 0, payload?: Uint8Array): void {
    this.wire.send(this.frame(performative, channel, payload));
  }

  begin(channel = 0, incomingWindow = 10_000): void {
    this.send(begin(incomingWindow), channel);
  }

  /** A sender of ours; resolves with the broker's attach. */
  async sender(options: LinkOptions = {}): Promise<PeerFrame> {
    this.send(attach({ ...options, isReceiver: false }), options.channel ?? 0);
    return this.next(PERFORMATIVE.ATTACH);
  }

  async receiver(options: LinkOptions = {}): Promise<PeerFrame> {
    this.send(attach({ ...options, isReceiver: true }), options.channel ?? 0);
    return this.next(PERFORMATIVE.ATTACH);
  }

  /** One whole message; returns its delivery-id. */
  transfer(payload: Uint8Array, options: TransferOptions = {}): number {
    const id = options.deliveryId ?? this.#nextDeliveryId++;
    const tag = options.tag ?? Buffer.alloc(4);
    if (options.tag === undefined) tag.writeUInt32BE(id);
    this.send(
      composite(PERFORMATIVE.TRANSFER, [
        uint(options.handle ?? 0),
        options.isContinuation ? NULL : uint(id),
        options.isContinuation ? NULL : binary(tag),
        options.isContinuation ? NULL : uint(options.format ?? 0),
        bool(options.isSettled ?? false),
        bool(options.hasMore ?? false),
        NULL,
        options.state ?? NULL,
        options.isResumed ? bool(true) : NULL,
        options.isAborted ? bool(true) : NULL,
      ]),
      options.channel ?? 0,
      payload,
    );
    this.#nextOutgoingId++;
    return id;
  }

  flow(options: FlowOptions = {}): void {
    this.send(
      composite(PERFORMATIVE.FLOW, [
        uint(options.nextIncomingId ?? 0),
        uint(options.incomingWindow ?? 10_000),
        uint(options.nextOutgoingId ?? this.#nextOutgoingId),
        uint(10_000),
        options.handle === undefined ? NULL : uint(options.handle),
        options.handle === undefined ? NULL : uint(options.deliveryCount ?? 0),
        options.credit === undefined ? NULL : uint(options.credit),
        NULL,
        bool(options.isDrain ?? false),
        bool(options.isEcho ?? false),
      ]),
      options.channel ?? 0,
    );
  }

  disposition(first: number, last: number, state: Value, isSettled = true, channel = 0): void {
    this.send(
      composite(PERFORMATIVE.DISPOSITION, [
        bool(true),
        uint(first),
        uint(last),
        bool(isSettled),
        state,
      ]),
      channel,
    );
  }

  detach(handle = 0, isClosed = true, channel = 0): void {
    this.send(composite(PERFORMATIVE.DETACH, [uint(handle), bool(isClosed)]), channel);
  }

  close(): void {
    this.send(composite(PERFORMATIVE.CLOSE, []));
  }
}

export interface LinkOptions {
  readonly name?: string;
  readonly handle?: number;
  readonly channel?: number;
  readonly address?: string | null;
  readonly capabilities?: readonly string[];
  readonly source?: Value;
  readonly target?: Value;
  readonly sndSettleMode?: number;
  readonly rcvSettleMode?: number;
  readonly desired?: readonly string[];
  readonly properties?: ReadonlyArray<readonly [string, Value]>;
  readonly maxMessageSize?: number;
  readonly unsettled?: Value;
  readonly isIncompleteUnsettled?: boolean;
}

export interface TransferOptions {
  readonly handle?: number;
  readonly channel?: number;
  readonly deliveryId?: number;
  readonly isSettled?: boolean;
  readonly hasMore?: boolean;
  readonly isContinuation?: boolean;
  readonly isAborted?: boolean;
  readonly format?: number;
  readonly state?: Value;
  /** Four bytes of the delivery-id where absent. */
  readonly tag?: Buffer;
  readonly isResumed?: boolean;
}

export interface FlowOptions {
  readonly handle?: number;
  readonly channel?: number;
  readonly credit?: number;
  readonly deliveryCount?: number;
  readonly nextIncomingId?: number;
  readonly nextOutgoingId?: number;
  readonly incomingWindow?: number;
  readonly isDrain?: boolean;
  readonly isEcho?: boolean;
}

export function open(
  options: {
    containerId?: string;
    maxFrameSize?: number;
    idleMs?: number;
    desired?: readonly string[];
    hostname?: string;
    channelMax?: number;
    properties?: ReadonlyArray<readonly [string, Value]>;
  } = {},
): Value {
  return composite(PERFORMATIVE.OPEN, [
    string(options.containerId ?? `peer-${++container}`),
    options.hostname === undefined ? NULL : string(options.hostname),
    options.maxFrameSize === undefined ? NULL : uint(options.maxFrameSize),
    options.channelMax === undefined ? NULL : ushort(options.channelMax),
    options.idleMs === undefined ? NULL : uint(options.idleMs),
    NULL,
    NULL,
    NULL,
    options.desired === undefined ? NULL : symbols(options.desired),
    options.properties === undefined ? NULL : symbolMap(options.properties),
  ]);
}

export const begin = (incomingWindow = 10_000): Value =>
  composite(PERFORMATIVE.BEGIN, [NULL, uint(0), uint(incomingWindow), uint(10_000)]);

export const symbolMap = (entries: ReadonlyArray<readonly [string, Value]>): Value =>
  map(entries.map(([name, value]) => [symbol(name), value] as const));

export function source(
  address: string | null,
  options: {
    durable?: number;
    expiry?: string;
    isDynamic?: boolean;
    distribution?: string;
    filter?: ReadonlyArray<readonly [string, Value]>;
    defaultOutcome?: Value;
    outcomes?: readonly string[];
    capabilities?: readonly string[];
  } = {},
): Value {
  return composite(0x28, [
    address === null ? NULL : string(address),
    uint(options.durable ?? 0),
    options.expiry === undefined ? NULL : symbol(options.expiry),
    NULL,
    options.isDynamic ? bool(true) : NULL,
    NULL,
    options.distribution === undefined ? NULL : symbol(options.distribution),
    options.filter === undefined ? NULL : symbolMap(options.filter),
    options.defaultOutcome ?? NULL,
    options.outcomes === undefined ? NULL : symbols(options.outcomes),
    options.capabilities === undefined ? NULL : symbols(options.capabilities),
  ]);
}

export function target(
  address: string | null,
  options: { durable?: number; isDynamic?: boolean; capabilities?: readonly string[] } = {},
): Value {
  return composite(0x29, [
    address === null ? NULL : string(address),
    options.durable === undefined ? NULL : uint(options.durable),
    NULL,
    NULL,
    options.isDynamic ? bool(true) : NULL,
    NULL,
    options.capabilities === undefined ? NULL : symbols(options.capabilities),
  ]);
}

export function attach(options: LinkOptions & { isReceiver: boolean }): Value {
  const address = options.address === undefined ? "q" : options.address;
  const { isReceiver } = options;
  const capabilities =
    options.capabilities === undefined ? {} : { capabilities: options.capabilities };
  return composite(PERFORMATIVE.ATTACH, [
    string(options.name ?? `link-${options.handle ?? 0}-${isReceiver}`),
    uint(options.handle ?? 0),
    bool(isReceiver),
    ubyte(options.sndSettleMode ?? 2),
    ubyte(options.rcvSettleMode ?? 0),
    options.source ?? (isReceiver ? source(address, capabilities) : source(null)),
    options.target ?? (isReceiver ? target(null) : target(address, capabilities)),
    options.unsettled ?? NULL,
    options.isIncompleteUnsettled ? bool(true) : NULL,
    isReceiver ? NULL : uint(0),
    options.maxMessageSize === undefined ? NULL : { type: "ulong", value: options.maxMessageSize },
    NULL,
    options.desired === undefined ? NULL : symbols(options.desired),
    options.properties === undefined ? NULL : symbolMap(options.properties),
  ]);
}

export const ACCEPTED = composite(0x24, []);
export const RELEASED = composite(0x26, []);
export const rejectedWith = (condition: string): Value =>
  composite(0x25, [composite(0x1d, [symbol(condition)])]);
export const modified = (isFailed: boolean, isElsewhere: boolean): Value =>
  composite(0x27, [bool(isFailed), bool(isElsewhere)]);

/** A message of one data section, with a header when it is durable. */
export function message(
  body: string | Buffer,
  options: {
    isDurable?: boolean;
    priority?: number;
    ttlMs?: number;
    annotations?: ReadonlyArray<readonly [string, Value]>;
    properties?: readonly Value[];
  } = {},
): Buffer {
  const parts: Buffer[] = [
    encodeValue(
      composite(SECTION.HEADER, [
        bool(options.isDurable ?? true),
        options.priority === undefined ? NULL : ubyte(options.priority),
        options.ttlMs === undefined ? NULL : uint(options.ttlMs),
      ]),
    ),
  ];
  if (options.annotations) {
    parts.push(encodeValue(described(SECTION.MESSAGE_ANNOTATIONS, symbolMap(options.annotations))));
  }
  if (options.properties)
    parts.push(encodeValue(composite(SECTION.PROPERTIES, options.properties)));
  parts.push(encodeValue(described(SECTION.DATA, binary(Buffer.from(body)))));
  return Buffer.concat(parts);
}

/** The sections of a message, by descriptor. */
export function sections(payload: Buffer): Map<number, Value> {
  const out = new Map<number, Value>();
  const decoder = new Decoder(payload, 0, payload.length);
  while (!decoder.isAtEnd) {
    const section = decoder.value();
    if (section.type !== "described") throw new Error("a section without a descriptor");
    out.set(descriptorNumber(section.descriptor), section.value);
  }
  return out;
}

/** The text of a message's data section. */
export const textOf = (payload: Buffer): string => {
  const data = sections(payload).get(SECTION.DATA);
  return data?.type === "binary" ? data.value.toString() : "";
};

/** Condition and description of an error field. */
export function errorOf(value: Value | undefined): { condition: string; description: string } {
  if (value?.type !== "described" || value.value.type !== "list") {
    return { condition: "", description: "" };
  }
  const [condition, description] = value.value.value;
  return { condition: String(condition?.value), description: String(description?.value) };
}
