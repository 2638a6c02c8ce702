/**
 * SUBSCRIBE and UNSUBSCRIBE headers → what to ask the broker for, in the dialects of ActiveMQ, Artemis and RabbitMQ
 * (protocols.md §8.5). Reads only; session.ts acts.
 */
import { createHash } from "node:crypto";
import {
  type ConsumerRequest,
  OUTCOME,
  type StartPosition,
  type SubscriptionIdentity,
} from "../../src/broker/facade.ts";
import type { Address } from "../../src/model/address.ts";
import { withKind } from "../../src/model/address-dialects.ts";
import type { FrameParser } from "./codec/frame-parser.ts";
import { HEADER, type HeaderId } from "./codec/header-names.ts";
import { StompError } from "./errors.ts";
import type { StompOptions } from "./options.ts";
import type { AckMode } from "./subscription.ts";

export interface SubscribeFrame {
  readonly request: ConsumerRequest;
  readonly ackMode: AckMode;
  readonly prefetch: number;
  readonly windowBytes: number;
  readonly isBrowser: boolean;
  readonly showsOffset: boolean;
  readonly durable: SubscriptionIdentity | null;
}

/** Who asks: durable subscriptions belong to a client id, or in RabbitMQ's way to a user. */
export interface Subscriber {
  readonly clientId: string;
  readonly user: string;
}

/** ActiveMQ 5 clients in the wild write the misspelled one. In order of precedence. */
const DURABLE_NAMES = [
  HEADER.DURABLE_SUBSCRIPTION_NAME,
  HEADER.DURABLE_SUBSCRIBER_NAME,
  HEADER.ACTIVEMQ_SUBSCRIPTION_NAME,
  HEADER.ACTIVEMQ_SUBCRIPTION_NAME,
] as const;

export function readSubscribe(
  parser: FrameParser,
  bytes: Buffer,
  id: string,
  resolved: Address,
  subscriber: Subscriber,
  options: StompOptions,
): SubscribeFrame {
  const text = (header: HeaderId): string | undefined => parser.text(bytes, header);
  const is = (header: HeaderId): boolean => text(header) === "true";
  const ackMode = readAckMode(text(HEADER.ACK));
  const isBrowser = is(HEADER.BROWSER);
  const durable = readDurable(parser, bytes, id, resolved, subscriber);
  const address = durable === null ? resolved : withKind(resolved, "topic");
  const group = text(HEADER.GROUP) ?? address.group;
  const from = readFrom(parser, bytes, address);
  const selector = readSelector(text(HEADER.SELECTOR) ?? address.params["selector"]);
  const tags = text(HEADER.TAG);
  const priority =
    readNumber(parser, bytes, HEADER.X_PRIORITY, -1e9) ??
    readNumber(parser, bytes, HEADER.ACTIVEMQ_PRIORITY, -1e9);
  return {
    request: {
      address,
      mode: isBrowser ? "browse" : "consume",
      preSettled: ackMode === "auto",
      onLost: OUTCOME.RELEASE,
      ...(durable === null ? {} : { subscription: durable }),
      ...(group === "" ? {} : { group: { name: group, mode: "clustering" as const } }),
      ...(from === undefined ? {} : { from }),
      ...(tags === undefined ? {} : { tags }),
      ...(selector === undefined ? {} : { selector }),
      ...(is(HEADER.NO_LOCAL) || is(HEADER.ACTIVEMQ_NO_LOCAL) ? { noLocal: true } : {}),
      ...(priority === undefined ? {} : { priority }),
      ...(is(HEADER.ACTIVEMQ_EXCLUSIVE) || is(HEADER.EXCLUSIVE) ? { isExclusive: true } : {}),
    },
    ackMode,
    ...readWindow(parser, bytes, ackMode, options),
    isBrowser,
    showsOffset: parser.has(HEADER.FROM) || parser.has(HEADER.X_STREAM_OFFSET),
    durable,
  };
}

/** All of a STOMP message's values are text: numbers and booleans in a selector compare with what the text says. */
const CONVERT_PREFIX = "convert_string_expressions:";

function readSelector(text: string | undefined): string | undefined {
  if (text === undefined || text.trim() === "") return undefined;
  return text.startsWith(CONVERT_PREFIX) ? text : CONVERT_PREFIX + text;
}

function readAckMode(text: string | undefined): AckMode {
  switch (text) {
    case undefined:
    case "auto":
      return "auto";
    case "client":
    case "client-individual":
      return text;
    default:
      throw new StompError(
        "Invalid ack mode",
        `"${text.slice(0, 60)}" is none of auto, client, client-individual.`,
      );
  }
}

/** prefetch-count (RabbitMQ, messages), activemq.prefetchSize (messages), consumer-window-size (Artemis, bytes). */
function readWindow(
  parser: FrameParser,
  bytes: Buffer,
  ackMode: AckMode,
  options: StompOptions,
): { prefetch: number; windowBytes: number } {
  if (ackMode === "auto") return { prefetch: Number.POSITIVE_INFINITY, windowBytes: 0 };
  const count = readNumber(parser, bytes, HEADER.PREFETCH_COUNT, 0);
  // RabbitMQ: 0 is no limit. ActiveMQ: 0 would mean to ask for each message, which STOMP cannot.
  if (count !== undefined) {
    return { prefetch: count === 0 ? Number.POSITIVE_INFINITY : count, windowBytes: 0 };
  }
  const size = readNumber(parser, bytes, HEADER.ACTIVEMQ_PREFETCH_SIZE, -1);
  if (size !== undefined) {
    return { prefetch: size < 0 ? Number.POSITIVE_INFINITY : Math.max(1, size), windowBytes: 0 };
  }
  const window = readNumber(parser, bytes, HEADER.CONSUMER_WINDOW_SIZE, -1);
  if (window !== undefined) {
    if (window < 0) return { prefetch: Number.POSITIVE_INFINITY, windowBytes: 0 };
    if (window === 0) return { prefetch: 1, windowBytes: 0 };
    return { prefetch: options.defaultPrefetch, windowBytes: window };
  }
  return { prefetch: options.defaultPrefetch, windowBytes: 0 };
}

/** The durable subscription these headers name, or null. */
export function readDurable(
  parser: FrameParser,
  bytes: Buffer,
  id: string,
  address: Address | undefined,
  subscriber: Subscriber,
): SubscriptionIdentity | null {
  const isQueue =
    address !== undefined && address.kind !== "topic" && address.kind !== "temp-topic";
  for (const header of DURABLE_NAMES) {
    const name = parser.text(bytes, header);
    if (name === undefined || name === "") continue;
    if (isQueue && address.kind !== "any") {
      throw new StompError(
        "Invalid subscription",
        "cannot durably subscribe to a Queue destination",
      );
    }
    if (subscriber.clientId === "") {
      throw new StompError(
        "Invalid subscription",
        "A durable subscription belongs to a client-id: send the header client-id with CONNECT.",
      );
    }
    return { clientId: subscriber.clientId, name, isShared: false, isDurable: true };
  }
  // RabbitMQ: durable queues are declared with the same headers, so they say nothing on a queue.
  if (isQueue || !asksRabbitDurable(parser, bytes)) return null;
  const given = parser.text(bytes, HEADER.X_QUEUE_NAME);
  const destination = parser.text(bytes, HEADER.DESTINATION) ?? "";
  return {
    clientId: subscriber.user,
    name: given ?? shorten(`${id}@${destination}`),
    isShared: true,
    isDurable: true,
  };
}

function asksRabbitDurable(parser: FrameParser, bytes: Buffer): boolean {
  const is = (header: HeaderId, value: string): boolean => parser.text(bytes, header) === value;
  return (
    is(HEADER.PERSISTENT, "true") || (is(HEADER.DURABLE, "true") && is(HEADER.AUTO_DELETE, "false"))
  );
}

/** Names have at most 255 bytes. */
function shorten(name: string): string {
  if (Buffer.byteLength(name) <= 160) return name;
  const hash = createHash("sha256").update(name).digest("base64url");
  return `${[...name].slice(0, 40).join("")}~${hash}`;
}

/** `from`, `x-stream-offset` and activemq.retroactive: where a reader of a topic begins. */
function readFrom(parser: FrameParser, bytes: Buffer, address: Address): StartPosition | undefined {
  const text =
    parser.text(bytes, HEADER.FROM) ??
    parser.text(bytes, HEADER.X_STREAM_OFFSET) ??
    address.params["from"];
  if (text === undefined) {
    return parser.text(bytes, HEADER.ACTIVEMQ_RETROACTIVE) === "true"
      ? { kind: "first" }
      : undefined;
  }
  if (text === "first" || text === "last" || text === "next") return { kind: text };
  const offset = /^(?:offset[:=])?(\d{1,15})$/.exec(text);
  if (offset !== null) return { kind: "offset", offset: Number(offset[1]) };
  const seconds = /^timestamp[:=](\d{1,12})$/.exec(text);
  if (seconds !== null) return { kind: "time", timestampMs: Number(seconds[1]) * 1000 };
  const time = /^time[:=](.+)$/.exec(text);
  const timestampMs = time === null ? Number.NaN : Date.parse(time[1]!);
  if (!Number.isNaN(timestampMs)) return { kind: "time", timestampMs };
  throw new StompError(
    "Invalid argument",
    `"${text.slice(0, 60)}" is none of first, last, next, offset:N, time:ISO, timestamp:SECONDS.`,
  );
}

function readNumber(
  parser: FrameParser,
  bytes: Buffer,
  header: HeaderId,
  least: number,
): number | undefined {
  const text = parser.text(bytes, header)?.trim();
  if (text === undefined || text === "") return undefined;
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= 0x7fff_ffff) return value;
  throw new StompError(
    "Invalid argument",
    `The header ${parser.nameAt(bytes, parser.indexOf(header))} has to be a whole number from ${least} on, not "${text.slice(0, 40)}".`,
  );
}
