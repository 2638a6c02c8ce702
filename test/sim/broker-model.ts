/**
 * What a broker must hold, as plain objects: every message with what is known of it, every queue as the list of its
 * messages in order. Says what is wrong by throwing.
 */

export interface ModelMessage {
  readonly text: string;
  readonly queue: string;
  readonly priority: number;
  readonly key: string;
  /** ms; 0 for none. */
  readonly expiresAt: number;
  readonly deliverAt: number;
  /** Order of publishing. */
  readonly number: number;
  /** Number of its transaction, 0 for none. */
  readonly transaction: number;
  position: number;
  isConfirmed: boolean;
  /** Its acknowledgement is with the broker, confirmed or not. */
  isAcked: boolean;
  /** Position of the acknowledgement; -1 while there is none, 0 when a commit stands for it. */
  ackPosition: number;
  isAckConfirmed: boolean;
  /** It may be gone without an acknowledgement: over time, purged, pushed out. */
  mayVanish: boolean;
  /** It may have copies: died, was moved. */
  hasCopies: boolean;
  /** A copy was moved back: it has no expiry. */
  wasMoved: boolean;
  wasDelivered: boolean;
  /** A failed one: when it may come again at the earliest. */
  notBefore: number;
  /** Consumers (by number) that hold it now. */
  holders: number;
}

export class BrokerModel {
  readonly messages = new Map<string, ModelMessage>();
  #number = 0;

  add(
    text: string,
    queue: string,
    fields: Pick<ModelMessage, "priority" | "key" | "expiresAt" | "deliverAt" | "transaction">,
  ): ModelMessage {
    const message: ModelMessage = {
      text,
      queue,
      ...fields,
      number: ++this.#number,
      position: -1,
      isConfirmed: false,
      isAcked: false,
      ackPosition: -1,
      isAckConfirmed: false,
      mayVanish: false,
      hasCopies: fields.expiresAt !== 0,
      wasMoved: false,
      wasDelivered: false,
      notBefore: 0,
      holders: 0,
    };
    this.messages.set(text, message);
    return message;
  }

  get(text: string): ModelMessage {
    const message = this.messages.get(text);
    if (message === undefined) throw new Error(`invented: '${text}'`);
    return message;
  }

  /** A consumer of `queue` got it. */
  delivered(text: string, queue: string, now: number): ModelMessage {
    const message = this.get(text);
    const isDead = queue === `DLQ.${message.queue}`;
    if (queue !== message.queue && !isDead) {
      throw new Error(`astray: '${text}' of ${message.queue} came from ${queue}`);
    }
    if (isDead) {
      if (!message.hasCopies) throw new Error(`'${text}' is dead and did not die`);
      return message;
    }
    if (message.deliverAt > now) throw new Error(`early: '${text}'`);
    if (message.expiresAt !== 0 && message.expiresAt <= now && !message.wasMoved)
      throw new Error(`late: '${text}'`);
    if (!message.hasCopies) {
      if (message.isAcked) throw new Error(`came back: '${text}' was acknowledged`);
      if (message.holders > 0) throw new Error(`twice at once: '${text}'`);
    }
    message.wasDelivered = true;
    message.holders++;
    return message;
  }

  /** Confirms that arrived: `to` on the scale of publishes, `settled` on that of settlements. */
  confirm(to: number, settled: number): void {
    for (const message of this.messages.values()) {
      if (message.position >= 0 && message.position <= to) message.isConfirmed = true;
      if (message.ackPosition > 0 && message.ackPosition <= settled) message.isAckConfirmed = true;
    }
  }

  /**
   * The broker is open again: `found` has the texts of each queue in order. Throws what does not hold, then takes over.
   */
  recovered(
    found: ReadonlyMap<string, readonly string[]>,
    now: number,
    transactions: ReadonlyMap<number, { settled: ModelMessage[]; isConfirmed: boolean }>,
  ): void {
    const places = new Map<string, string[]>();
    for (const [queue, texts] of found) {
      let last = 0;
      for (const text of texts) {
        const message = this.get(text);
        const list = places.get(text) ?? [];
        list.push(queue);
        places.set(text, list);
        if (queue !== message.queue || message.hasCopies || message.deliverAt > 0) continue;
        if (message.number < last) throw new Error(`order: '${text}' in ${queue}`);
        last = message.number;
      }
    }
    for (const message of this.messages.values()) {
      const { text } = message;
      const at = places.get(text) ?? [];
      if (at.length > 1 && !message.hasCopies && message.deliverAt === 0) {
        throw new Error(`copied: '${text}' is in ${at.join(", ")}`);
      }
      const isOver = message.expiresAt !== 0 && message.expiresAt <= now;
      if (at.length === 0 && message.isConfirmed) {
        if (!message.isAcked && !message.mayVanish && !isOver) throw new Error(`lost: '${text}'`);
      }
      if (at.length > 0 && message.isAckConfirmed && !message.hasCopies) {
        throw new Error(`came back: '${text}', its acknowledgement was confirmed`);
      }
    }
    for (const [number, transaction] of transactions) {
      this.#checkTransaction(number, transaction.settled, transaction.isConfirmed, places);
    }
    this.#takeOver(places);
  }

  /** What nobody has seen yet of a transaction is there with everything it settled gone, or neither. */
  #checkTransaction(
    number: number,
    settled: readonly ModelMessage[],
    isConfirmed: boolean,
    places: ReadonlyMap<string, readonly string[]>,
  ): void {
    const published = [...this.messages.values()].filter(
      (message) => message.transaction === number && !message.mayVanish && !message.hasCopies,
    );
    const isThere = (message: ModelMessage): boolean => places.has(message.text) || message.isAcked;
    // What died has a copy somewhere: where that is, the transaction is.
    const dead = [...this.messages.values()].some(
      (message) => message.transaction === number && message.hasCopies && places.has(message.text),
    );
    const there = published.filter(isThere).length;
    if ((there !== 0 || dead) && there !== published.length) {
      throw new Error(`torn: transaction ${number} has ${there} of ${published.length} messages`);
    }
    const back = settled.filter((message) => places.has(message.text) && !message.hasCopies);
    const isDone = isConfirmed || there > 0 || dead;
    if (isDone && back.length > 0) {
      throw new Error(`torn: transaction ${number} settled '${back[0]!.text}', which came back`);
    }
    if (!isDone && published.length > 0) {
      const gone = settled.filter(
        (message) =>
          message.isConfirmed &&
          !places.has(message.text) &&
          !message.hasCopies &&
          !message.mayVanish,
      );
      if (gone.length > 0) {
        throw new Error(`torn: transaction ${number} is not there, but settled '${gone[0]!.text}'`);
      }
    }
  }

  #takeOver(places: ReadonlyMap<string, readonly string[]>): void {
    for (const message of [...this.messages.values()]) {
      if (!places.has(message.text)) {
        this.messages.delete(message.text);
        continue;
      }
      // Whatever is there now has survived, and stays until somebody settles it.
      message.isConfirmed = true;
      message.position = -1;
      message.isAcked = false;
      message.ackPosition = -1;
      message.isAckConfirmed = false;
      message.holders = 0;
      message.wasDelivered = false;
      message.notBefore = 0;
    }
  }
}
