/**
 * What producers and consumers know of every message while the broker is killed again and again, and the rules that must hold:
 *
 *   lost        a confirmed message was never delivered
 *   came back   a message was delivered again although its acknowledgement had been confirmed by the broker, or had been
 *               written more than `ACK_GRACE_MS` before a kill, or although the broker had not been killed since
 *   invented    a message was delivered that nobody sent
 *   disordered  within one connection, a producer's messages did not come in the order it sent them
 *   duplicated  a group that is promised each message exactly once got one again
 *
 * A message that was sent and never confirmed may be there or not. One entry per message and group (a queue's consumers, or
 * one subscription).
 */

export const ACK_GRACE_MS = 250;
const SHOWN_PER_RULE = 5;

interface Entry {
  isConfirmed: boolean;
  deliveries: number;
  /** When the acknowledgement had been written to the socket; 0 before. */
  ackedAt: number;
  ackConfirmed: boolean;
  /** Its producer sends it again after a kill, because it had not been confirmed: it may be there twice. */
  isRepeated: boolean;
}

export type Rule = "lost" | "came back" | "invented" | "disordered" | "duplicated";

export class Ledger {
  readonly #groups = new Map<string, Map<string, Entry>>();
  readonly #exactlyOnce = new Set<string>();
  readonly #violations: { rule: Rule; text: string }[] = [];
  readonly #killedAt: number[] = [];
  #isDown = false;
  confirmedCount = 0;
  deliveredCount = 0;
  redeliveredCount = 0;
  ackConfirmedCount = 0;

  /** The groups that each get a copy of what is sent to a destination. */
  addGroup(group: string, isExactlyOnce = false): void {
    this.#groups.set(group, new Map());
    if (isExactlyOnce) this.#exactlyOnce.add(group);
  }

  sent(groups: readonly string[], id: string): void {
    for (const group of groups) {
      this.#entries(group).set(id, {
        isConfirmed: false,
        deliveries: 0,
        ackedAt: 0,
        ackConfirmed: false,
        isRepeated: false,
      });
    }
  }

  confirmed(groups: readonly string[], id: string): void {
    this.confirmedCount++;
    for (const group of groups) this.#entry(group, id).isConfirmed = true;
  }

  /** The producer will send it again, as it does not know whether it arrived. */
  repeated(groups: readonly string[], id: string): void {
    for (const group of groups) this.#entry(group, id).isRepeated = true;
  }

  /** Whether it came to this group for the first time. */
  delivered(group: string, id: string): boolean {
    const entry = this.#entries(group).get(id);
    if (entry === undefined) {
      this.#violate("invented", `${group}: ${id}`);
      return false;
    }
    this.deliveredCount++;
    const isNew = entry.deliveries++ === 0;
    if (!isNew) this.redeliveredCount++;
    if (!isNew && this.#exactlyOnce.has(group)) {
      this.#violate("duplicated", `${group}: ${id}, ${entry.deliveries} times`);
      return false;
    }
    if (entry.isRepeated) {
      entry.ackedAt = 0;
    } else if (entry.ackConfirmed) {
      this.#violate("came back", `${group}: ${id}, its acknowledgement was confirmed`);
    } else if (entry.ackedAt > 0) {
      // The kill that could have undone it; later ones find it as that one left it.
      const killedAt = this.#killedAt.find((at) => at >= entry.ackedAt);
      if (killedAt === undefined) {
        this.#violate("came back", `${group}: ${id}, acknowledged, and no kill since`);
      } else if (killedAt - entry.ackedAt > ACK_GRACE_MS) {
        const before = (killedAt - entry.ackedAt).toFixed(0);
        this.#violate(
          "came back",
          `${group}: ${id}, acknowledged ${before} ms before the next kill`,
        );
      }
      entry.ackedAt = 0;
    }
    return isNew;
  }

  /** What is acknowledged between a kill and the restart went to nobody, though it may come from the socket's buffer. */
  acknowledged(group: string, id: string): void {
    if (this.#isDown) return;
    this.#entry(group, id).ackedAt = performance.now();
  }

  acknowledgementConfirmed(group: string, id: string): void {
    const entry = this.#entry(group, id);
    if (!entry.ackConfirmed) this.ackConfirmedCount++;
    entry.ackConfirmed = true;
  }

  killed(): void {
    this.#isDown = true;
    this.#killedAt.push(performance.now());
  }

  restarted(): void {
    this.#isDown = false;
  }

  disordered(text: string): void {
    this.#violate("disordered", text);
  }

  /** Confirmed messages that no delivery was seen of, over all groups. */
  get owed(): number {
    let owed = 0;
    for (const entries of this.#groups.values()) {
      for (const entry of entries.values()) {
        if (entry.isConfirmed && entry.deliveries === 0) owed++;
      }
    }
    return owed;
  }

  /** After the last drain: what is still owed is lost. */
  close(): void {
    for (const [group, entries] of this.#groups) {
      for (const [id, entry] of entries) {
        if (entry.isConfirmed && entry.deliveries === 0) this.#violate("lost", `${group}: ${id}`);
      }
    }
  }

  /** One line per broken rule, or "" when it holds. */
  broken(rule: Rule): string {
    const all = this.#violations.filter((violation) => violation.rule === rule);
    if (all.length === 0) return "";
    const shown = all.slice(0, SHOWN_PER_RULE).map(({ text }) => text);
    return `${all.length} messages ${rule}: ${shown.join("; ")}`;
  }

  #violate(rule: Rule, text: string): void {
    this.#violations.push({ rule, text });
  }

  #entries(group: string): Map<string, Entry> {
    const entries = this.#groups.get(group);
    if (entries === undefined) throw new Error(`no group ${group}`);
    return entries;
  }

  #entry(group: string, id: string): Entry {
    const entry = this.#entries(group).get(id);
    if (entry === undefined) throw new Error(`${group}: nothing known of ${id}`);
    return entry;
  }
}
