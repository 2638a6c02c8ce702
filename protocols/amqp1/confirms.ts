/**
 * What one connection still has to answer: deliveries to confirm once the log is safe, settlements to confirm once the
 * acknowledgements are. Registered with the broker only while something waits.
 */
import type { BrokerFacade, ConfirmWaiter } from "../../src/broker/facade.ts";

/** A link that confirms deliveries once a watermark is reached. */
export interface Confirming {
  isConfirming: boolean;
  /** Sends what it can; true while something still waits. */
  sendConfirms(): boolean;
}

/** A session whose peer waits for settlements. */
export interface Settling {
  isAwaitingSettle: boolean;
  /** True while answers still wait. */
  confirmSettled(settledTo: number): boolean;
}

export class Confirms implements ConfirmWaiter {
  readonly #broker: BrokerFacade;
  readonly #links: Confirming[] = [];
  readonly #sessions: Settling[] = [];
  #isWaiting = false;
  #isOver = false;

  constructor(broker: BrokerFacade) {
    this.#broker = broker;
  }

  /** `link` has something to confirm: looked at when the chunk ends. */
  add(link: Confirming): void {
    if (link.isConfirming) return;
    link.isConfirming = true;
    this.#links.push(link);
  }

  addSettling(session: Settling): void {
    if (session.isAwaitingSettle) return;
    session.isAwaitingSettle = true;
    this.#sessions.push(session);
  }

  /** Confirms what can be confirmed now, and waits for the rest. */
  endChunk(): void {
    const areLinksWaiting = this.#links.length > 0 && this.#confirmLinks();
    // Asking how far settlements are safe also asks for the sync that makes them so.
    const areSessionsWaiting = this.#confirmSessions();
    if (areLinksWaiting || areSessionsWaiting) this.#wait();
  }

  #wait(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#broker.awaitConfirm(this);
  }

  onConfirm(): boolean {
    if (this.#isOver) return false;
    const areLinksWaiting = this.#confirmLinks();
    this.#isWaiting = this.#confirmSessions() || areLinksWaiting;
    return this.#isWaiting;
  }

  #confirmLinks(): boolean {
    const links = this.#links;
    let kept = 0;
    for (let i = 0; i < links.length; i++) {
      const link = links[i]!;
      if (link.sendConfirms()) links[kept++] = link;
      else link.isConfirming = false;
    }
    links.length = kept;
    return kept > 0;
  }

  #confirmSessions(): boolean {
    const sessions = this.#sessions;
    if (sessions.length === 0) return false;
    const settledTo = this.#broker.settledTo();
    let kept = 0;
    for (const session of sessions) {
      if (session.confirmSettled(settledTo)) sessions[kept++] = session;
      else session.isAwaitingSettle = false;
    }
    sessions.length = kept;
    return kept > 0;
  }

  /** The connection is closing: nothing more is said. */
  stop(): void {
    this.#isOver = true;
    this.#links.length = 0;
    this.#sessions.length = 0;
  }
}
