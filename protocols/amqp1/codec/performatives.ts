/**
 * The performatives that come once per connection, session or link: decoded through `Value`, checked field by field,
 * encoded from plain parameters. Unknown trailing fields are ignored, missing mandatory ones name themselves.
 */
import { CONDITION, ConnectionError, decodeError, type ErrorInfo } from "../errors.ts";
import { ERROR_DESCRIPTOR, PERFORMATIVE } from "./codes.ts";
import { Decoder, descriptorNumber } from "./decode.ts";
import {
  bool,
  composite,
  int,
  long,
  map,
  NULL,
  string,
  symbol,
  symbolList,
  symbols,
  ubyte,
  uint,
  ulong,
  ushort,
  type Value,
} from "./value.ts";

/** Longer texts are cut: every peer takes frames of 512 bytes. */
const MAX_DESCRIPTION = 300;

/** The fields of one composite, by position. */
export class Fields {
  readonly #name: string;
  readonly #values: readonly Value[];

  constructor(name: string, value: Value) {
    if (value.type !== "list") throw decodeError(`${name} is not a list.`);
    this.#name = name;
    this.#values = value.value;
  }

  /** undefined for absent or null. */
  get(index: number): Value | undefined {
    const value = this.#values[index];
    return value === undefined || value.type === "null" ? undefined : value;
  }

  text(index: number, field: string): string | undefined {
    const value = this.get(index);
    if (value === undefined) return undefined;
    if (value.type !== "string" && value.type !== "symbol") throw this.#wrong(field, "a string");
    return value.value;
  }

  number(index: number, field: string, type: "uint" | "ushort" | "ubyte"): number | undefined {
    const value = this.get(index);
    if (value === undefined) return undefined;
    if (value.type !== type) throw this.#wrong(field, `a ${type}`);
    return value.value;
  }

  boolean(index: number, field: string): boolean | undefined {
    const value = this.get(index);
    if (value === undefined) return undefined;
    if (value.type !== "boolean") throw this.#wrong(field, "a boolean");
    return value.value;
  }

  binary(index: number, field: string): Buffer | undefined {
    const value = this.get(index);
    if (value === undefined) return undefined;
    if (value.type !== "binary") throw this.#wrong(field, "binary");
    return value.value;
  }

  symbols(index: number, field: string): string[] {
    const names = symbolList(this.get(index));
    if (names === undefined) throw this.#wrong(field, "a symbol or an array of symbols");
    return names;
  }

  map(index: number, field: string): Value | undefined {
    const value = this.get(index);
    if (value !== undefined && value.type !== "map") throw this.#wrong(field, "a map");
    return value;
  }

  required<T>(value: T | undefined, field: string): T {
    if (value === undefined) throw decodeError(`${this.#name}.${field} is missing.`);
    return value;
  }

  #wrong(field: string, expected: string): ConnectionError {
    return decodeError(`${this.#name}.${field} is not ${expected}.`);
  }
}

/** The list of a performative whose descriptor was read already. */
function fieldsAt(name: string, bytes: Buffer, start: number, end: number): Fields {
  const decoder = new Decoder(bytes, start, end);
  const value = decoder.value();
  if (!decoder.isAtEnd) throw decodeError(`Bytes follow ${name} in its frame.`);
  return new Fields(name, value);
}

export interface Open {
  readonly containerId: string;
  readonly hostname: string;
  readonly maxFrameSize: number;
  readonly channelMax: number;
  /** 0 for none. */
  readonly idleTimeoutMs: number;
  readonly desiredCapabilities: readonly string[];
  readonly properties: Value | undefined;
}

export function readOpen(bytes: Buffer, start: number, end: number): Open {
  const fields = fieldsAt("open", bytes, start, end);
  return {
    containerId: fields.required(fields.text(0, "container-id"), "container-id"),
    hostname: fields.text(1, "hostname") ?? "",
    maxFrameSize: fields.number(2, "max-frame-size", "uint") ?? 0xffffffff,
    channelMax: fields.number(3, "channel-max", "ushort") ?? 0xffff,
    idleTimeoutMs: fields.number(4, "idle-time-out", "uint") ?? 0,
    desiredCapabilities: fields.symbols(8, "desired-capabilities"),
    properties: fields.map(9, "properties"),
  };
}

export function openFrame(open: {
  containerId: string;
  maxFrameSize: number;
  channelMax: number;
  idleTimeoutMs: number;
  offeredCapabilities: readonly string[];
  properties: ReadonlyArray<readonly [Value, Value]>;
}): Value {
  return composite(PERFORMATIVE.OPEN, [
    string(open.containerId),
    NULL,
    uint(open.maxFrameSize),
    ushort(open.channelMax),
    open.idleTimeoutMs > 0 ? uint(open.idleTimeoutMs) : NULL,
    NULL,
    NULL,
    symbols(open.offeredCapabilities),
    NULL,
    map(open.properties),
  ]);
}

export interface Begin {
  readonly remoteChannel: number | undefined;
  readonly nextOutgoingId: number;
  readonly incomingWindow: number;
  readonly outgoingWindow: number;
  readonly handleMax: number;
}

export function readBegin(bytes: Buffer, start: number, end: number): Begin {
  const fields = fieldsAt("begin", bytes, start, end);
  return {
    remoteChannel: fields.number(0, "remote-channel", "ushort"),
    nextOutgoingId: fields.required(
      fields.number(1, "next-outgoing-id", "uint"),
      "next-outgoing-id",
    ),
    incomingWindow: fields.required(fields.number(2, "incoming-window", "uint"), "incoming-window"),
    outgoingWindow: fields.required(fields.number(3, "outgoing-window", "uint"), "outgoing-window"),
    handleMax: fields.number(4, "handle-max", "uint") ?? 0xffffffff,
  };
}

export function beginFrame(begin: {
  remoteChannel: number;
  nextOutgoingId: number;
  incomingWindow: number;
  outgoingWindow: number;
  handleMax: number;
}): Value {
  return composite(PERFORMATIVE.BEGIN, [
    ushort(begin.remoteChannel),
    uint(begin.nextOutgoingId),
    uint(begin.incomingWindow),
    uint(begin.outgoingWindow),
    uint(begin.handleMax),
  ]);
}

export const SND_SETTLE = { UNSETTLED: 0, SETTLED: 1, MIXED: 2 } as const;
export const RCV_SETTLE = { FIRST: 0, SECOND: 1 } as const;

export interface Attach {
  readonly name: string;
  readonly handle: number;
  /** The peer receives. */
  readonly isReceiver: boolean;
  readonly sndSettleMode: number;
  readonly rcvSettleMode: number;
  readonly source: Value | undefined;
  readonly target: Value | undefined;
  /** Deliveries that the peer is in doubt about, by tag; undefined: none, the link begins anew. */
  readonly unsettled: Value | undefined;
  readonly isIncompleteUnsettled: boolean;
  readonly initialDeliveryCount: number | undefined;
  /** 0 for none. */
  readonly maxMessageSize: number;
  readonly desiredCapabilities: readonly string[];
  readonly properties: Value | undefined;
}

export function readAttach(bytes: Buffer, start: number, end: number): Attach {
  const fields = fieldsAt("attach", bytes, start, end);
  const isReceiver = fields.required(fields.boolean(2, "role"), "role");
  const unsettled = fields.map(7, "unsettled");
  const initialDeliveryCount = fields.number(9, "initial-delivery-count", "uint");
  const maxMessageSize = fields.get(10);
  if (maxMessageSize !== undefined && maxMessageSize.type !== "ulong") {
    throw decodeError("attach.max-message-size is not a ulong.");
  }
  const sndSettleMode = fields.number(3, "snd-settle-mode", "ubyte") ?? SND_SETTLE.MIXED;
  const rcvSettleMode = fields.number(4, "rcv-settle-mode", "ubyte") ?? RCV_SETTLE.FIRST;
  if (sndSettleMode > 2) throw invalid("attach.snd-settle-mode is not 0, 1 or 2.");
  if (rcvSettleMode > 1) throw invalid("attach.rcv-settle-mode is not 0 or 1.");
  if (!isReceiver && initialDeliveryCount === undefined) {
    throw invalid("attach.initial-delivery-count is missing: a sender must give it.");
  }
  return {
    name: fields.required(fields.text(0, "name"), "name"),
    handle: fields.required(fields.number(1, "handle", "uint"), "handle"),
    isReceiver,
    sndSettleMode,
    rcvSettleMode,
    source: fields.get(5),
    target: fields.get(6),
    unsettled,
    isIncompleteUnsettled: fields.boolean(8, "incomplete-unsettled") ?? false,
    initialDeliveryCount,
    maxMessageSize: Number(maxMessageSize?.value ?? 0),
    desiredCapabilities: fields.symbols(12, "desired-capabilities"),
    properties: fields.map(13, "properties"),
  };
}

/** What an answer to an attach has from it: the same link, seen from the other end. */
export function answerTo(attach: Attach): {
  name: string;
  handle: number;
  isReceiver: boolean;
  sndSettleMode: number;
  rcvSettleMode: number;
  initialDeliveryCount: number | undefined;
} {
  const { name, handle, sndSettleMode, rcvSettleMode } = attach;
  const isReceiver = !attach.isReceiver;
  // The one who sends says where it begins to count.
  const initialDeliveryCount = isReceiver ? undefined : 0;
  return { name, handle, isReceiver, sndSettleMode, rcvSettleMode, initialDeliveryCount };
}

export function attachFrame(attach: {
  name: string;
  handle: number;
  isReceiver: boolean;
  sndSettleMode: number;
  rcvSettleMode: number;
  source: Value;
  target: Value;
  initialDeliveryCount: number | undefined;
  maxMessageSize: number;
  offeredCapabilities: readonly string[];
  unsettled?: Value;
  isIncompleteUnsettled?: boolean;
}): Value {
  const { initialDeliveryCount, offeredCapabilities } = attach;
  return composite(PERFORMATIVE.ATTACH, [
    string(attach.name),
    uint(attach.handle),
    bool(attach.isReceiver),
    ubyte(attach.sndSettleMode),
    ubyte(attach.rcvSettleMode),
    attach.source,
    attach.target,
    attach.unsettled ?? NULL,
    attach.isIncompleteUnsettled === true ? bool(true) : NULL,
    initialDeliveryCount === undefined ? NULL : uint(initialDeliveryCount),
    attach.maxMessageSize > 0 ? ulong(attach.maxMessageSize) : NULL,
    offeredCapabilities.length > 0 ? symbols(offeredCapabilities) : NULL,
    NULL,
    NULL,
  ]);
}

export interface Detach {
  readonly handle: number;
  readonly isClosed: boolean;
  readonly error: string;
}

export function readDetach(bytes: Buffer, start: number, end: number): Detach {
  const fields = fieldsAt("detach", bytes, start, end);
  return {
    handle: fields.required(fields.number(0, "handle", "uint"), "handle"),
    isClosed: fields.boolean(1, "closed") ?? false,
    error: errorText(fields.get(2)),
  };
}

export function detachFrame(handle: number, isClosed: boolean, error?: ErrorInfo): Value {
  return composite(PERFORMATIVE.DETACH, [uint(handle), bool(isClosed), errorValue(error)]);
}

/** The error of an end or close, as text for the log. */
export function readGoodbye(name: "end" | "close", bytes: Buffer, start: number, end: number) {
  return errorText(fieldsAt(name, bytes, start, end).get(0));
}

export const endFrame = (error?: ErrorInfo): Value =>
  composite(PERFORMATIVE.END, [errorValue(error)]);
export const closeFrame = (error?: ErrorInfo): Value =>
  composite(PERFORMATIVE.CLOSE, [errorValue(error)]);

export function errorValue(error: ErrorInfo | undefined): Value {
  if (error === undefined) return NULL;
  const info: Array<[Value, Value]> = [];
  for (const [name, value] of Object.entries(error.info ?? {})) {
    info.push([symbol(name), infoValue(name, value)]);
  }
  return composite(ERROR_DESCRIPTOR, [
    symbol(error.condition),
    string(error.description.slice(0, MAX_DESCRIPTION)),
    info.length > 0 ? map(info) : NULL,
  ]);
}

function infoValue(name: string, value: string | number | boolean): Value {
  if (typeof value === "boolean") return bool(value);
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) return string(String(value));
    return (value | 0) === value ? int(value) : long(value);
  }
  // Qpid JMS looks for the invalid field's name as a symbol.
  return name === "invalid-field" ? symbol(value) : string(value.slice(0, MAX_DESCRIPTION));
}

function errorText(value: Value | undefined): string {
  if (value === undefined || value.type !== "described") return "";
  if (descriptorNumber(value.descriptor) !== ERROR_DESCRIPTOR) return "";
  const fields = new Fields("error", value.value);
  return `${fields.text(0, "condition") ?? ""} ${fields.text(1, "description") ?? ""}`.trim();
}

const invalid = (description: string): ConnectionError =>
  new ConnectionError(CONDITION.INVALID_FIELD, description);
