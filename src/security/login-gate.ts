/**
 * How many logins of one address are looked at at a time. A refused one keeps its place until its delay is over, so an
 * address guesses passwords at a bounded rate over however many connections, and keeps nobody elsewhere from logging in.
 */
import { addressGroup } from "../util/network.ts";
import { BusyError } from "./password.ts";

/** Logins of one address that may wait for a place; more are told to come back later. */
const WAITING_MAX = 2000;
/** Whoever waited longer is gone by now: its connection had to log in sooner. */
const WAIT_MAX_MS = 10_000;

interface Waiting {
  readonly since: number;
  go(): void;
  giveUp(error: Error): void;
}

interface Place {
  running: number;
  readonly waiting: Waiting[];
}

export class LoginGate {
  #perAddressMax: number;
  readonly #places = new Map<string, Place>();
  readonly #now: () => number;
  /** Logins that had to wait because of others of their address. */
  held = 0;

  constructor(perAddressMax: number, now: () => number = () => performance.now()) {
    this.#perAddressMax = perAddressMax;
    this.#now = now;
  }

  /** Holds for those who come from now on. */
  set perAddressMax(value: number) {
    this.#perAddressMax = value;
  }

  /** Rejects with BusyError when too many of this address wait, or it took too long. */
  async run<T>(address: string, attempt: () => Promise<T>): Promise<T> {
    const key = addressGroup(address);
    let place = this.#places.get(key);
    if (place === undefined) {
      place = { running: 0, waiting: [] };
      this.#places.set(key, place);
    }
    if (place.running < this.#perAddressMax) place.running++;
    else await this.#wait(place);
    try {
      return await attempt();
    } finally {
      this.#leave(key, place);
    }
  }

  #wait({ waiting }: Place): Promise<void> {
    if (waiting.length >= WAITING_MAX) throw new BusyError("too many logins at once");
    this.held++;
    return new Promise((go, giveUp) => waiting.push({ since: this.#now(), go, giveUp }));
  }

  /** The place goes to who has waited longest and is still there. */
  #leave(key: string, place: Place): void {
    const { waiting } = place;
    const tooOld = this.#now() - WAIT_MAX_MS;
    let stale = 0;
    while (stale < waiting.length && waiting[stale]!.since < tooOld) stale++;
    for (const one of waiting.splice(0, stale)) one.giveUp(new BusyError("it took too long"));
    const next = waiting.shift();
    if (next !== undefined) {
      next.go();
      return;
    }
    place.running--;
    if (place.running === 0) this.#places.delete(key);
  }
}
