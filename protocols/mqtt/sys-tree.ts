/**
 * `$SYS`: a few figures of the broker under mosquitto's names, sent at an interval to those who ask, and at once (as
 * retained) to a new subscriber. They are not messages: nothing is stored, QoS is always 0.
 */
import type { BrokerFacade } from "../../src/broker/facade.ts";
import type { Grant, SessionHost } from "../../src/broker/session-facade.ts";
import { matches } from "./codec/topic.ts";
import type { Counters } from "./counters.ts";

export interface SysWatcher {
  /** Sends one value now, QoS 0. */
  sendSys(topic: string, value: string, isRetained: boolean, grant: Grant): void;
}

export class SysTree {
  readonly #broker: BrokerFacade;
  readonly #sessions: SessionHost;
  readonly #counters: Counters;
  #intervalMs: number;
  readonly #startedAt = Date.now();
  readonly #watchers = new Map<SysWatcher, Map<string, Grant>>();
  #timer: NodeJS.Timeout | null = null;

  constructor(broker: BrokerFacade, sessions: SessionHost, counters: Counters, intervalMs: number) {
    this.#broker = broker;
    this.#sessions = sessions;
    this.#counters = counters;
    this.#intervalMs = intervalMs;
  }

  watch(watcher: SysWatcher, filter: string, grant: Grant, sendsNow = true): void {
    if (this.#intervalMs === 0) return;
    let filters = this.#watchers.get(watcher);
    if (filters === undefined) {
      filters = new Map();
      this.#watchers.set(watcher, filters);
    }
    filters.set(filter, grant);
    if (sendsNow) this.#send(watcher, new Map([[filter, grant]]), true);
    if (this.#timer === null) this.#start();
  }

  /** 0: nothing is sent any more, and what is subscribed from now on stays silent. */
  set intervalMs(intervalMs: number) {
    if (intervalMs === this.#intervalMs) return;
    this.#intervalMs = intervalMs;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    if (this.#watchers.size > 0 && intervalMs > 0) this.#start();
  }

  #start(): void {
    this.#timer = setInterval(() => this.#tick(), this.#intervalMs);
    this.#timer.unref();
  }

  unwatch(watcher: SysWatcher, filter: string): void {
    const filters = this.#watchers.get(watcher);
    if (filters?.delete(filter) && filters.size === 0) this.forget(watcher);
  }

  forget(watcher: SysWatcher): void {
    if (!this.#watchers.delete(watcher) || this.#watchers.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #tick(): void {
    this.#broker.turn.touch();
    for (const [watcher, filters] of this.#watchers) this.#send(watcher, filters, false);
  }

  #send(watcher: SysWatcher, filters: Map<string, Grant>, isRetained: boolean): void {
    for (const [topic, value] of this.values()) {
      for (const [filter, grant] of filters) {
        if (!matches(filter, topic)) continue;
        watcher.sendSys(topic, value, isRetained, grant);
        break;
      }
    }
  }

  values(): Array<[topic: string, value: string]> {
    const { stats } = this.#sessions;
    const c = this.#counters;
    const values: Record<string, string | number> = {
      version: `sluice version ${this.#broker.version}`,
      uptime: `${Math.floor((Date.now() - this.#startedAt) / 1000)} seconds`,
      "clients/connected": stats.connected,
      "clients/disconnected": stats.sessions - stats.connected,
      "clients/total": stats.sessions,
      "clients/maximum": c.connectionsMax,
      "subscriptions/count": stats.subscriptions,
      "shared_subscriptions/count": stats.sharedSubscriptions,
      "retained messages/count": stats.retained,
      "messages/received": c.packetsIn,
      "publish/messages/received": c.publishesIn,
      "publish/messages/sent": c.publishesOut,
      "publish/messages/dropped": c.dropped + stats.droppedQueued,
      "publish/bytes/received": c.bytesIn,
      "publish/bytes/sent": c.bytesOut,
    };
    return Object.entries(values).map(([name, value]) => [`$SYS/broker/${name}`, String(value)]);
  }
}
