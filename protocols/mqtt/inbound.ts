/**
 * PUBLISH from one client: topics and aliases, the draft, and the acknowledgement that goes out when the message is as
 * safe as its destination asks for.
 *
 * A topic is checked and resolved once per connection; after that a message costs a comparison of its topic's bytes with
 * the last one's.
 */
import { isUtf8 } from "node:buffer";
import type {
  BrokerConnection,
  BrokerFacade,
  DurabilityLevel,
  Target,
} from "../../src/broker/facade.ts";
import type { Session } from "../../src/broker/session-facade.ts";
import { parseAddress } from "../../src/model/address-dialects.ts";
import { Draft } from "../../src/model/draft.ts";
import { BrokerError, type ErrorCode } from "../../src/model/errors.ts";
import { ENCODING } from "../../src/model/record-view.ts";
import type { Wire } from "../../src/transport/wire.ts";
import { ACK_SIZE_MAX, putAck } from "./codec/ack.ts";
import { PACKET, REASON, type Reason, VERSION, type Version } from "./codec/constants.ts";
import { ProtocolError, protocolError } from "./codec/protocol-error.ts";
import { PublishView } from "./codec/publish.ts";
import { isTopicName } from "./codec/topic.ts";
import { ConfirmRing } from "./confirm-ring.ts";
import type { Counters } from "./counters.ts";
import { ackReason } from "./errors.ts";
import { IncomingProperties } from "./message-properties.ts";
import type { MqttSettings } from "./settings.ts";

export interface InboundHost {
  readonly broker: BrokerFacade;
  readonly connection: BrokerConnection;
  readonly session: Session;
  readonly version: Version;
  readonly settings: MqttSettings;
  readonly counters: Counters;
  /** A message was refused; the reason goes into the log at most. */
  noteRefusal(path: string, error: BrokerError): void;
}

/** Index = level of an entry in the ring of acknowledgements. */
export const LEVELS: readonly DurabilityLevel[] = ["memory", "os", "fsync"];

/** Refused today and for ever. */
const NEVER_FITS: ReadonlySet<ErrorCode> = new Set(["message-too-large", "properties-too-large"]);

// One message is read at a time, whatever connection it comes from.
const publishView = new PublishView();
const publishDraft = new Draft();

class TopicIn {
  readonly key: Buffer;
  readonly path: string;
  target: Target | null = null;
  level = 0;

  constructor(key: Buffer, path: string) {
    this.key = key;
    this.path = path;
  }
}

export class Inbound {
  readonly #host: InboundHost;
  readonly #view = publishView;
  /** Made with the first message that has properties. */
  #properties: IncomingProperties | null = null;
  readonly #draft = publishDraft;
  readonly #topics = new Map<string, TopicIn>();
  readonly #aliases: Array<TopicIn | undefined> = [];
  #last: TopicIn | null = null;
  /** PUBACK and PUBREC in the order of their PUBLISH (MQTT-4.6.0-2, -3). */
  readonly #acks = new ConfirmRing();
  /** PUBACKs among them. */
  #unacknowledged = 0;
  readonly #isV5: boolean;

  constructor(host: InboundHost) {
    this.#host = host;
    this.#isV5 = host.version === VERSION.V5;
  }

  /** Messages of QoS 1 and 2 the client has open towards us. */
  get openCount(): number {
    return this.#unacknowledged + this.#host.session.receivedCount;
  }

  /** One packet: `first` its first byte, `bytes[start, end)` what follows the fixed header. */
  publish(bytes: Buffer, first: number, start: number, end: number): void {
    const host = this.#host;
    const view = this.#view.open(bytes, first, start, end, host.version);
    const counters = host.counters;
    counters.publishesIn++;
    counters.bytesIn += end - view.payloadStart;
    if (view.propertiesEnd > view.propertiesStart) {
      this.#openProperties(bytes, view);
    }
    const topic = this.#topicOf(bytes, view);
    if (view.qos !== 0 && this.#isV5) this.#checkQuota(view);
    if (view.qos === 2 && host.session.hasReceived(view.packetId)) {
      // MQTT-4.3.3: the same message again; it is not stored a second time.
      this.#push(PACKET.PUBREC, view.packetId, 0, 0, 0);
      return;
    }
    const draft = this.#fill(bytes, view);
    if (draft === null) this.#refuse(view, REASON.PAYLOAD_FORMAT_INVALID);
    else this.#hand(topic, draft, view);
  }

  /** Publishing is blocked and the client can be told. */
  refuse(bytes: Buffer, first: number, start: number, end: number): void {
    const view = this.#view.open(bytes, first, start, end, this.#host.version);
    if (view.propertiesEnd > view.propertiesStart) this.#openProperties(bytes, view);
    // An alias it defines counts all the same.
    this.#topicOf(bytes, view);
    this.#checkQuota(view);
    this.#refuse(view, REASON.QUOTA_EXCEEDED);
  }

  #openProperties(bytes: Buffer, view: PublishView): void {
    this.#properties ??= new IncomingProperties();
    this.#properties.open(bytes, view.propertiesStart, view.propertiesEnd);
  }

  #checkQuota(view: PublishView): void {
    const { session, settings } = this.#host;
    if (this.openCount < settings.receiveMaximum) return;
    if (view.qos === 2 && session.hasReceived(view.packetId)) return;
    throw new ProtocolError(
      REASON.RECEIVE_MAXIMUM_EXCEEDED,
      `more than ${settings.receiveMaximum} open messages`,
      "MQTT-3.3.4-9",
    );
  }

  /** Null when the payload is not what it claims to be. */
  #fill(bytes: Buffer, view: PublishView): Draft | null {
    const draft = this.#draft.reset();
    draft.bytes = bytes;
    draft.start = view.payloadStart;
    draft.end = view.payloadEnd;
    draft.encoding = ENCODING.MQTT;
    draft.isDurable = view.qos !== 0;
    draft.isExactlyOnce = view.qos === 2;
    draft.isRetained = view.isRetained;
    if (view.propertiesEnd === view.propertiesStart) return draft;
    const { parsed, text, hints } = this.#properties!;
    // An expiry of 0 s is over at once; 0 ms would mean none.
    if (parsed.messageExpiry >= 0) draft.ttlMs = Math.max(1, parsed.messageExpiry * 1000);
    draft.properties = text;
    if (text !== "") {
      draft.priority = hints.priority;
      draft.keys = hints.keys;
      draft.group = hints.group;
      draft.deliverAt = hints.deliverAt;
      // QoS 2 has its own way to know a repetition.
      if (view.qos !== 2) draft.dedupId = hints.messageId;
    }
    if (parsed.payloadFormat === 1 && this.#host.settings.checkPayloadFormat) {
      if (!isUtf8(bytes.subarray(view.payloadStart, view.payloadEnd))) return null;
    }
    return draft;
  }

  #hand(topic: TopicIn, draft: Draft, view: PublishView): void {
    const { session } = this.#host;
    let position: number;
    try {
      const target = topic.target ?? this.#open(topic);
      position =
        view.qos === 2 ? session.publishOnce(target, draft, view.packetId) : target.publish(draft);
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      this.#forget(topic);
      this.#host.noteRefusal(topic.path, error);
      this.#refuseFor(error, view);
      return;
    }
    if (view.qos === 0) return;
    const type = view.qos === 1 ? PACKET.PUBACK : PACKET.PUBREC;
    const isUnwanted = position === 0 && this.#isV5 && topic.target?.hadReaders === false;
    const reason = isUnwanted ? REASON.NO_MATCHING_SUBSCRIBERS : 0;
    this.#push(type, view.packetId, reason, position, topic.level);
  }

  #push(type: number, packetId: number, reason: number, position: number, level: number): void {
    this.#acks.push(type, packetId, reason, position, level);
    if (type === PACKET.PUBACK) this.#unacknowledged++;
  }

  /** Acknowledgements that still wait. */
  get waitingCount(): number {
    return this.#acks.length;
  }

  /** Writes what is confirmed by now, given how far each level of `LEVELS` is. */
  flush(wire: Wire, confirmed: readonly number[]): void {
    const ring = this.#acks;
    const count = ring.readyCount(confirmed);
    if (count === 0) return;
    wire.reserve(count * ACK_SIZE_MAX);
    const { out } = wire;
    let at = wire.outAt;
    let pubacks = 0;
    for (let i = 0; i < count; i++) {
      const type = ring.typeAt(i);
      if (type === PACKET.PUBACK) pubacks++;
      at = putAck(out, at, type, ring.packetIdAt(i), ring.reasonAt(i));
    }
    wire.outAt = at;
    this.#unacknowledged -= pubacks;
    ring.drop(count);
  }

  #refuseFor(error: BrokerError, view: PublishView): void {
    const isDenied = error.code === "unauthorized";
    // MQTT 3 has no word for no. Denied: acknowledged and dropped, unless configured. Anything else must not look like success.
    if (!this.#isV5 && (this.#host.settings.closeOnDeny || (!isDenied && view.qos > 0)))
      throw error;
    // QoS 0 has no answer at all. Lost for once is what it promises; what can never be taken, its sender should know of.
    if (view.qos === 0 && NEVER_FITS.has(error.code)) throw error;
    this.#refuse(view, ackReason(error.code));
  }

  #refuse(view: PublishView, reason: Reason): void {
    this.#host.counters.refused++;
    if (view.qos === 0) {
      if (reason !== REASON.PAYLOAD_FORMAT_INVALID) return;
      throw new ProtocolError(reason, "payload is not the UTF-8 it claims to be");
    }
    const type = view.qos === 1 ? PACKET.PUBACK : PACKET.PUBREC;
    this.#push(type, view.packetId, this.#isV5 ? reason : 0, 0, 0);
  }

  // ── topics ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #topicOf(bytes: Buffer, view: PublishView): TopicIn {
    const { topicStart, topicEnd } = view;
    const hasProperties = view.propertiesEnd > view.propertiesStart;
    const alias = hasProperties ? this.#properties!.parsed.topicAlias : 0;
    if (alias !== 0) return this.#aliased(bytes, view, alias);
    if (topicStart === topicEnd)
      throw this.#isV5
        ? protocolError("PUBLISH with neither topic nor alias")
        : new ProtocolError(REASON.TOPIC_NAME_INVALID, "empty topic name", "MQTT-4.7.3-1");
    return this.#resolve(bytes, topicStart, topicEnd);
  }

  #aliased(bytes: Buffer, view: PublishView, alias: number): TopicIn {
    const { topicStart, topicEnd } = view;
    if (alias < 0 || alias > this.#host.settings.topicAliasMaximum)
      throw new ProtocolError(
        REASON.TOPIC_ALIAS_INVALID,
        `topic alias ${Math.max(0, alias)}: 1 to ${this.#host.settings.topicAliasMaximum} are allowed`,
        alias < 0 ? "MQTT-3.3.2-8" : "MQTT-3.3.2-9",
      );
    if (topicStart < topicEnd) {
      const topic = this.#resolve(bytes, topicStart, topicEnd);
      this.#aliases[alias] = topic;
      return topic;
    }
    const topic = this.#aliases[alias];
    if (topic === undefined) throw protocolError(`topic alias ${alias} was not defined`);
    return topic;
  }

  #resolve(bytes: Buffer, start: number, end: number): TopicIn {
    const last = this.#last;
    if (last !== null && isEqual(bytes, start, end, last.key)) return last;
    const key = bytes.toString("latin1", start, end);
    let topic = this.#topics.get(key);
    if (topic === undefined) {
      topic = this.#newTopic(bytes, start, end);
      this.#topics.set(key, topic);
    }
    this.#last = topic;
    return topic;
  }

  #newTopic(bytes: Buffer, start: number, end: number): TopicIn {
    const { settings } = this.#host;
    if (!isTopicName(bytes, start, end))
      throw new ProtocolError(
        REASON.TOPIC_NAME_INVALID,
        "topic name holds a wildcard, a control character or bytes that are not UTF-8",
        "MQTT-3.3.2-2",
      );
    const path = bytes.toString("utf8", start, end);
    if (end - start > settings.maxTopicBytes || countLevels(path) > settings.maxTopicLevels)
      throw new ProtocolError(REASON.TOPIC_NAME_INVALID, "topic name is longer than the limit");
    if (this.#topics.size >= settings.topicCacheSize) this.#evict();
    return new TopicIn(Buffer.from(bytes.subarray(start, end)), path);
  }

  #open(topic: TopicIn): Target {
    const { path } = topic;
    if (path.startsWith("$SYS/") || path === "$SYS" || path.startsWith("$share/"))
      throw new BrokerError("invalid-address", `topic '${path}' is the broker's own`);
    const { namespace } = this.#host.connection;
    const address = parseAddress(path, "mqtt", { namespace });
    topic.target = this.#host.connection.openTarget(address);
    topic.level = LEVELS.indexOf(topic.target.level);
    return topic.target;
  }

  /** The next message asks again: the topic may be back, the right may be given. */
  #forget(topic: TopicIn): void {
    topic.target?.close();
    topic.target = null;
  }

  /** Forgets the topics that were resolved first. An alias keeps its topic, which opens its target anew. */
  #evict(): void {
    let count = this.#topics.size >> 2;
    for (const [key, topic] of this.#topics) {
      if (count-- === 0) break;
      this.#forget(topic);
      this.#topics.delete(key);
    }
    this.#last = null;
  }

  close(): void {
    for (const topic of this.#topics.values()) topic.target?.close();
    this.#topics.clear();
    for (const topic of this.#aliases) topic?.target?.close();
    this.#acks.clear();
  }
}

function countLevels(path: string): number {
  let levels = 1;
  for (let i = 0; i < path.length; i++) if (path.charCodeAt(i) === 0x2f) levels++;
  return levels;
}

function isEqual(bytes: Buffer, start: number, end: number, key: Buffer): boolean {
  const { length } = key;
  if (end - start !== length) return false;
  for (let i = 0; i < length; i++) if (bytes[start + i] !== key[i]) return false;
  return true;
}
