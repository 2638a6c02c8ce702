/**
 * How each protocol spells an address (spec protocols.md §3.4), both ways.
 *
 * `parseAddress` reads what a client wrote; `formatAddress` writes an address as a client of that protocol would write
 * it, so that the client can send it back: parseAddress(formatAddress(a)) is `a` (given the kind, which the bare names of
 * AMQP do not tell; and unless the name itself ends in known parameters). Understood everywhere but in MQTT:
 *
 *   queue://Q  topic://T  temp-queue://Q  temp-topic://T        URL style; wins over a hint
 *   queue:Q  topic:a/b#G  //ns/queue:Q …                        the canonical form; only when it does not contradict the hint
 *   /queue/Q  /topic/a.b  /exchange/X/key  /amq/queue/Q         RabbitMQ v1, ActiveMQ, STOMP (AMQP 1.0, STOMP)
 *   /queues/Q  /exchanges/X/key                                 RabbitMQ v2, percent-encoded (AMQP 1.0, STOMP)
 *   /temp-queue/x  /remote-temp-queue/x  /reply/x  …            temporaries and replies (AMQP 1.0, STOMP)
 *   DLQ.Q                                                       the dead-letter queue of Q (AMQP 1.0, STOMP)
 *   address::queue                                              Artemis: a subscription's queue (AMQP 1.0, STOMP)
 */
import {
  type Address,
  type AddressKind,
  checkName,
  type Dialect,
  decodePercent,
  invalid,
  isTopicKind,
  makeAddress,
  splitGroup,
  splitParams,
  tryCanonical,
} from "./address.ts";
import { filterFromDotted, filterToDotted, pathFromDotted, pathToDotted } from "./topic-path.ts";

export interface ParseOptions {
  /** What a capability, header or the operation says the address is. */
  readonly kind?: AddressKind;
  /** The connection's namespace; one in the address itself wins. */
  readonly namespace?: string;
  /** MQTT: understand `$queue/Q` and `$dlq/Q`. The broker's temporaries are understood anyway. */
  readonly allowQueues?: boolean;
  /** Is this a group of that topic? Only then `T#G` in a client's own spelling is split. */
  readonly knowsGroup?: (topic: string, group: string) => boolean;
}

/** Names the broker makes for temporaries: recognised in any string address, with or without a hint. */
export const TEMPORARY_PREFIX = {
  "temp-queue": "~temp-queue.",
  "temp-topic": "~temp-topic.",
} as const;

const DIRECT_REPLY = "amq.rabbitmq.reply-to";
const TOPIC_EXCHANGE = "amq.topic";
const DEFAULT_EXCHANGE = "amq.default";
const DEAD_LETTER_ALIAS = "DLQ.";
const MQTT_QUEUE = "$queue/";
const MQTT_DEAD = "$dlq/";

const URL_PREFIXES: ReadonlyArray<readonly [string, AddressKind]> = [
  ["queue://", "queue"],
  ["topic://", "topic"],
  ["temp-queue://", "temp-queue"],
  ["temp-topic://", "temp-topic"],
];

const PATH_PREFIXES: ReadonlyArray<readonly [string, AddressKind]> = [
  ["/queue/", "queue"],
  ["/queues/", "queue"],
  ["/amq/queue/", "queue"],
  ["/topic/", "topic"],
  ["/temp-queue/", "temp-queue"],
  ["/temp-topic/", "temp-topic"],
  ["/remote-temp-queue/", "temp-queue"],
  ["/remote-temp-topic/", "temp-topic"],
  ["/reply/", "reply"],
  ["/reply-queue/", "reply"],
];

/** Reads a client's spelling. Throws invalid-address. */
export function parseAddress(text: string, dialect: Dialect, options: ParseOptions = {}): Address {
  if (text === "") throw invalid("the address is empty", text);
  if (dialect === "mqtt") return parseMqtt(text, options);
  const url = URL_PREFIXES.find(([prefix]) => text.startsWith(prefix));
  if (url !== undefined) return named(url[1], text.slice(url[0].length), dialect, options, true);
  const canonical = tryCanonical(text);
  if (
    canonical !== undefined &&
    (options.kind === undefined || options.kind === canonical.kind || text.startsWith("//"))
  ) {
    const namespace = text.startsWith("//") ? canonical.namespace : options.namespace;
    return namespace === undefined ? canonical : { ...canonical, namespace };
  }
  if (dialect === "amqp091") return named(options.kind ?? "queue", text, dialect, options, false);
  if (text.charCodeAt(0) === 0x2f) {
    const path = parsePathStyle(text, dialect, options);
    if (path !== undefined) return path;
  }
  const fqqn = parseQualifiedQueue(text, options);
  if (fqqn !== undefined) return fqqn;
  return named(options.kind ?? "any", text, dialect, options, false);
}

/** `name?params#group` of a known (or unknown: "any") kind. */
function named(
  kind: Address["kind"],
  text: string,
  dialect: Dialect,
  options: ParseOptions,
  mayNameGroup: boolean,
): Address {
  let rest = text;
  let group = "";
  if (text.includes("#") && (kind === "any" || isTopicKind(kind))) {
    const split = splitGroup(text, ".");
    if (
      split.group !== "" &&
      (mayNameGroup || options.knowsGroup?.(splitParams(split.rest).name, split.group) === true)
    ) {
      rest = split.rest;
      group = split.group;
    }
  }
  const { name, tags, params } = splitParams(rest);
  return finish(kind, name, dialect, options, { tags, params, group });
}

function finish(
  kind: Address["kind"],
  spelled: string,
  dialect: Dialect,
  options: ParseOptions,
  rest: Partial<Pick<Address, "tags" | "params" | "group">>,
): Address {
  let finalKind = kind;
  let name = spelled;
  for (const temporary of ["temp-queue", "temp-topic"] as const) {
    if (name.startsWith(TEMPORARY_PREFIX[temporary])) finalKind = temporary;
  }
  if (
    (name === DIRECT_REPLY || name.startsWith(`${DIRECT_REPLY}.`)) &&
    (finalKind === "queue" || finalKind === "any")
  ) {
    finalKind = "reply";
    name = name === DIRECT_REPLY ? name : name.slice(DIRECT_REPLY.length + 1);
  } else if (
    dialect !== "amqp091" &&
    (finalKind === "queue" || finalKind === "any" || finalKind === "dlq") &&
    name.startsWith(DEAD_LETTER_ALIAS) &&
    name.length > DEAD_LETTER_ALIAS.length
  ) {
    finalKind = "dlq";
    name = name.slice(DEAD_LETTER_ALIAS.length);
  } else if (finalKind === "topic") {
    name = filterFromDotted(name);
  }
  checkName(name, finalKind);
  return makeAddress(finalKind, name, {
    ...rest,
    ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
    ...(finalKind === "any" ? { dialect } : {}),
  });
}

function parsePathStyle(
  text: string,
  dialect: Dialect,
  options: ParseOptions,
): Address | undefined {
  const path = PATH_PREFIXES.find(
    ([prefix]) => text.startsWith(prefix) && text.length > prefix.length,
  );
  if (path !== undefined) {
    const [prefix, kind] = path;
    const { name, tags, params } = splitParams(text.slice(prefix.length));
    // A topic's levels have escapes of their own (topic-path.ts): decoding those here would lose them.
    const plain = kind === "topic" ? name : decodePercent(name);
    return finish(kind, plain, dialect, options, { tags, params });
  }
  const exchange = /^\/exchanges?\/([^/]*)(?:\/(.*))?$/s.exec(text);
  if (exchange === null) return undefined;
  const { name: key, tags, params } = splitParams(exchange[2] ?? "");
  const name = decodePercent(exchange[1]!);
  const routingKey = decodePercent(key);
  if (name === TOPIC_EXCHANGE && routingKey !== "") {
    return finish("topic", routingKey, dialect, options, { tags, params });
  }
  if (name === "" || name === DEFAULT_EXCHANGE) {
    return finish("queue", routingKey, dialect, options, { tags, params });
  }
  return finish("exchange", name, dialect, options, {
    tags,
    params: routingKey === "" ? params : { ...params, "routing-key": routingKey },
  });
}

/** Artemis `address::queue`; its subscription queues are called `client.name`. */
function parseQualifiedQueue(text: string, options: ParseOptions): Address | undefined {
  const colons = text.indexOf("::");
  if (colons < 1 || colons !== text.lastIndexOf("::") || colons + 2 === text.length) {
    return undefined;
  }
  const topic = filterFromDotted(text.slice(0, colons));
  const queue = text.slice(colons + 2);
  const dot = queue.search(/(?<!\\)\./);
  const client = dot < 0 ? "~global" : queue.slice(0, dot).replaceAll("\\.", ".");
  const name = `${client}/${queue.slice(dot + 1).replaceAll("\\.", ".")}`;
  checkName(name, "sub");
  return makeAddress("sub", name, {
    params: { topic },
    ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
  });
}

function parseMqtt(text: string, options: ParseOptions): Address {
  const rest = options.namespace === undefined ? {} : { namespace: options.namespace };
  let kind: AddressKind = options.kind ?? "topic";
  let name = text;
  // Who was given the unguessable name of a temporary queue may answer to it, queues allowed or not.
  if (text.startsWith(`${MQTT_QUEUE}${TEMPORARY_PREFIX["temp-queue"]}`)) {
    kind = "temp-queue";
    name = text.slice(MQTT_QUEUE.length);
  } else if (text.startsWith(TEMPORARY_PREFIX["temp-topic"])) kind = "temp-topic";
  else if (options.allowQueues && text.startsWith(MQTT_QUEUE)) {
    kind = "queue";
    name = text.slice(MQTT_QUEUE.length);
  } else if (options.allowQueues && text.startsWith(MQTT_DEAD)) {
    kind = "dlq";
    name = text.slice(MQTT_DEAD.length);
  }
  checkName(name, kind);
  return makeAddress(kind, name, rest);
}

/** A bare name, now that its kind is known. */
export function withKind(address: Address, kind: AddressKind): Address {
  if (address.kind !== "any") return address;
  const name =
    kind === "topic" && address.dialect !== "mqtt" ? filterFromDotted(address.name) : address.name;
  const { namespace, tags, group, params } = address;
  return makeAddress(kind, name, { namespace, tags, group, params });
}

/** One publisher's routing key as a path: in AMQP 0-9-1 wildcards in a published key are ordinary characters. */
export const topicOfRoutingKey = (routingKey: string): Address => {
  checkName(routingKey, "topic");
  return makeAddress("topic", pathFromDotted(routingKey));
};

/** The address as a client of this protocol writes it. The namespace is the connection's and is left out. */
export function formatAddress(address: Address, dialect: Dialect): string {
  switch (dialect) {
    case "mqtt":
      return formatMqtt(address);
    case "stomp":
      return formatStomp(address);
    default:
      return formatAmqp(address, dialect);
  }
}

function formatMqtt({ kind, name }: Address): string {
  if (kind === "topic" || kind === "temp-topic") return name;
  return (kind === "dlq" ? MQTT_DEAD : MQTT_QUEUE) + name;
}

function formatStomp(address: Address): string {
  const { kind, name } = address;
  switch (kind) {
    case "topic":
      return `/topic/${filterToDotted(name)}${suffix(address)}`;
    case "exchange": {
      const key = address.params["routing-key"];
      return `/exchange/${encodeSegment(name)}${key === undefined ? "" : `/${encodeSegment(key)}`}`;
    }
    case "temp-queue":
      return `/remote-temp-queue/${encodeName(name)}`;
    case "temp-topic":
      return `/remote-temp-topic/${encodeName(name)}`;
    case "reply":
      return `/reply-queue/${encodeName(name)}`;
    case "dlq":
      return `/queue/${encodeName(DEAD_LETTER_ALIAS + name)}`;
    case "queue":
    case "any":
      return `/queue/${encodeName(name)}${suffix(address)}`;
    default:
      return `${kind}:${name}`;
  }
}

function formatAmqp(address: Address, dialect: Dialect): string {
  const { kind, name } = address;
  switch (kind) {
    case "topic":
      return filterToDotted(name) + suffix(address);
    case "exchange": {
      if (dialect === "amqp091") return name;
      const key = address.params["routing-key"];
      return `/exchanges/${encodeSegment(name)}${key === undefined ? "" : `/${encodeSegment(key)}`}`;
    }
    case "reply":
      if (dialect === "amqp1") return `/reply/${encodeName(name)}`;
      return name === DIRECT_REPLY ? name : `${DIRECT_REPLY}.${name}`;
    case "dlq":
      return dialect === "amqp1" ? DEAD_LETTER_ALIAS + name : `dlq:${name}`;
    case "queue":
    case "any":
    case "temp-queue":
    case "temp-topic":
      return name + suffix(address);
    default:
      return `${kind}:${name}`;
  }
}

/** As a routing key of AMQP 0-9-1: a published path, no wildcards. */
export const routingKeyOf = (path: string): string => pathToDotted(path);

/** As formatAddress, with the kind said in the text: for places where nothing else tells it (a reply-to without hint). */
export function formatWithKind(address: Address, dialect: Dialect): string {
  if (dialect === "stomp" || dialect === "mqtt") return formatAddress(address, dialect);
  const { kind } = address;
  const text = formatAddress(address, dialect);
  return kind === "topic" || kind === "queue" ? `${kind}://${text}` : text;
}

function suffix({ tags, params, group }: Address): string {
  let text = "";
  if (tags !== "") text = `?tag=${encodeSegment(tags)}`;
  for (const key of Object.keys(params)) {
    if (key === "routing-key" || key === "topic") continue;
    text += `${text === "" ? "?" : "&"}${key}=${encodeSegment(params[key]!)}`;
  }
  return group === "" ? text : `${text}#${group}`;
}

/** Escapes what `decodePercent` would take for an escape, and "?" when parameters could be read out of the name. */
const encodeName = (name: string): string =>
  guardParams(name.replace(/%(?=[0-9A-Fa-f]{2})/g, "%25"));
const guardParams = (name: string): string =>
  splitParams(name).name === name ? name : name.replaceAll("?", "%3F");
const encodeSegment = (text: string): string =>
  text.replace(
    /[%/?#&=]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`,
  );
