/**
 * SUBSCRIBE and UNSUBSCRIBE of one connection: filters checked one by one, the answer sent when the change is durable,
 * retained messages after the answer, at the pace of the client's window.
 */
import type { Grant, RetainedCursor, Session } from "../../src/broker/session-facade.ts";
import { BrokerError } from "../../src/model/errors.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { REASON, SUBACK_FAILURE, VERSION, type Version } from "./codec/constants.ts";
import { encodeSuback, encodeUnsuback } from "./codec/control.ts";
import type { Properties } from "./codec/properties.ts";
import { protocolError } from "./codec/protocol-error.ts";
import type { SubscribeEntry, SubscribePacket, UnsubscribePacket } from "./codec/subscribe.ts";
import { isShared, isTopicFilter, parseShared } from "./codec/topic.ts";
import { ackReason } from "./errors.ts";
import type { Outbound } from "./outbound.ts";
import type { MqttSettings } from "./settings.ts";
import type { SysTree, SysWatcher } from "./sys-tree.ts";

export interface SubscriptionsHost extends SysWatcher {
  readonly version: Version;
  readonly session: Session;
  readonly outbound: Outbound;
  readonly settings: MqttSettings;
  readonly sysTree: SysTree;
  readonly wantsProblemInfo: boolean;
  /** Sends the packet once `position` is settled, then calls back. */
  answer(position: number, packet: Buffer, sent: () => void): void;
  /** Retained messages wait to be sent. */
  requestReplay(): void;
}

interface Replay {
  readonly cursor: RetainedCursor;
  readonly grant: Grant;
}

/** Retained messages sent in one go; others get their turn in between. */
const REPLAY_BATCH = 256;

export class Subscriptions {
  readonly #host: SubscriptionsHost;
  readonly #view = new RecordView();
  #replays: Replay[] = [];

  constructor(host: SubscriptionsHost) {
    this.#host = host;
  }

  subscribe(packet: SubscribePacket): void {
    const host = this.#host;
    const identifier = packet.properties.subscriptionIds?.[0] ?? 0;
    const codes: number[] = [];
    const starts: Array<() => void> = [];
    let position = 0;
    let problem = "";
    for (const entry of packet.entries) {
      try {
        position = Math.max(position, this.#one(entry, identifier, starts));
        codes.push(entry.qos);
      } catch (error) {
        if (!(error instanceof BrokerError)) throw error;
        codes.push(host.version === VERSION.V5 ? filterReason(error) : SUBACK_FAILURE);
        problem = error.message;
      }
    }
    const answer = encodeSuback(host.version, packet.packetId, codes, this.#properties(problem));
    host.answer(position, Buffer.from(answer), () => {
      for (const start of starts) start();
    });
  }

  /** Subscribes one filter; returns the position to wait for. */
  #one(entry: SubscribeEntry, identifier: number, starts: Array<() => void>): number {
    const host = this.#host;
    const { filter, share } = this.#parse(entry.filter);
    if (share !== "" && entry.isNoLocal)
      throw protocolError("no local on a shared subscription", "MQTT-3.8.3-4");
    const { qos, isNoLocal, isRetainAsPublished } = entry;
    const options = { qos, isNoLocal, isRetainAsPublished, identifier };
    const result = host.session.subscribe(filter, share, options);
    const grant = grantOf(entry, identifier);
    if (isSys(filter)) {
      starts.push(() => host.sysTree.watch(host, filter, grant));
      return result.position;
    }
    const isWanted = entry.retainHandling === 0 || (entry.retainHandling === 1 && !result.existed);
    if (share === "" && isWanted) {
      const cursor = host.session.retained(filter);
      starts.push(() => this.#replay({ cursor, grant }));
    }
    return result.position;
  }

  unsubscribe(packet: UnsubscribePacket): void {
    const host = this.#host;
    const codes: number[] = [];
    let position = 0;
    let problem = "";
    for (const text of packet.filters) {
      try {
        const { filter, share } = this.#parse(text);
        const at = host.session.unsubscribe(filter, share);
        if (isSys(filter)) host.sysTree.unwatch(host, filter);
        codes.push(at < 0 ? REASON.NO_SUBSCRIPTION_EXISTED : REASON.SUCCESS);
        position = Math.max(position, at);
      } catch (error) {
        if (!(error instanceof BrokerError)) throw error;
        codes.push(filterReason(error));
        problem = error.message;
      }
    }
    const answer = encodeUnsuback(host.version, packet.packetId, codes, this.#properties(problem));
    host.answer(position, Buffer.from(answer), () => {});
  }

  /** A session that was kept comes back with its filters: only `$SYS` is not the broker's business. */
  restore(): void {
    const host = this.#host;
    host.session.forEachSubscription((filter, _share, options) => {
      if (!isSys(filter)) return;
      const { qos, isRetainAsPublished, identifier } = options;
      const identifiers = identifier === 0 ? [] : [identifier];
      host.sysTree.watch(host, filter, { qos, isRetainAsPublished, identifiers }, false);
    });
  }

  #parse(text: string): { filter: string; share: string } {
    const { settings } = this.#host;
    if (Buffer.byteLength(text) > settings.maxTopicBytes) throw invalid("topic filter is too long");
    if (!isShared(text)) {
      if (!isTopicFilter(text)) throw invalid(`'${text}' is not a topic filter`);
      checkLevels(text, settings);
      return { filter: text, share: "" };
    }
    const shared = parseShared(text);
    if (shared === null) throw invalid(`'${text}' is not a shared subscription`);
    checkLevels(shared.filter, settings);
    return shared;
  }

  #properties(problem: string): Properties {
    return problem !== "" && this.#host.wantsProblemInfo ? { reasonString: problem } : {};
  }

  // ── retained messages ───────────────────────────────────────────────────────────────────────────────────────────

  get isReplaying(): boolean {
    return this.#replays.length > 0;
  }

  #replay(replay: Replay): void {
    this.#replays.push(replay);
    this.#host.requestReplay();
  }

  /** Sends retained messages while the client takes them; true when it could go on at once. */
  pump(): boolean {
    const { outbound } = this.#host;
    let left = REPLAY_BATCH;
    while (this.#replays.length > 0) {
      const { cursor, grant } = this.#replays[0]!;
      while (outbound.isReady && outbound.hasWindow) {
        if (left-- === 0) return true;
        if (!cursor.next(this.#view)) {
          cursor.close();
          this.#replays.shift();
          break;
        }
        outbound.deliverRetained(cursor, this.#view, grant);
      }
      if (!outbound.isReady || !outbound.hasWindow) return false;
    }
    return false;
  }

  close(): void {
    for (const { cursor } of this.#replays) cursor.close();
    this.#replays = [];
    this.#host.sysTree.forget(this.#host);
  }
}

const isSys = (filter: string): boolean => filter === "$SYS" || filter.startsWith("$SYS/");

const invalid = (message: string): BrokerError => new BrokerError("invalid-argument", message);

const filterReason = (error: BrokerError): number =>
  error.code === "invalid-argument" ? REASON.TOPIC_FILTER_INVALID : ackReason(error.code);

function checkLevels(filter: string, settings: MqttSettings): void {
  if (filter.split("/").length > settings.maxTopicLevels)
    throw invalid(`topic filter has more than ${settings.maxTopicLevels} levels`);
}

function grantOf(entry: SubscribeEntry, identifier: number): Grant {
  return {
    qos: entry.qos,
    isRetainAsPublished: entry.isRetainAsPublished,
    identifiers: identifier === 0 ? [] : [identifier],
  };
}
