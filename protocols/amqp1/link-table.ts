/**
 * The links of one session by handle: those that are attached, those that we ended and the peer has not, and those whose frames
 * are a mistake by now.
 */
import {
  type Attach,
  answerTo,
  attachFrame,
  type Detach,
  detachFrame,
} from "./codec/performatives.ts";
import { NULL } from "./codec/value.ts";
import type { AmqpConnection } from "./connection.ts";
import type { CoordinatorLink } from "./coordinator-link.ts";
import {
  CONDITION,
  ConnectionError,
  type ErrorInfo,
  errorInfo,
  LinkError,
  SessionError,
} from "./errors.ts";
import type { ReceiverLink } from "./receiver-link.ts";
import type { SenderLink } from "./sender-link.ts";
import type { Settlements } from "./settlements.ts";

/** A link on which the peer sends. */
export type IncomingLink = ReceiverLink | CoordinatorLink;

/** Names are kept as long as their links. */
const MAX_NAME = 4_096;

export interface LinkTableHost {
  readonly connection: AmqpConnection;
  readonly channel: number;
  readonly settlements: Settlements;
}

export class LinkTable {
  readonly incoming: Array<IncomingLink | undefined> = [];
  readonly outgoing: Array<SenderLink | undefined> = [];
  readonly #host: LinkTableHost;
  /** Links we detached with an error, until the peer's detach: their handles are in use, their frames are dropped. */
  readonly #detaching = new Set<number>();
  /** Handles of such links once the peer detached too: frames for them are a mistake. */
  readonly #errant = new Set<number>();

  constructor(host: LinkTableHost) {
    this.#host = host;
  }

  /** Throws ConnectionError, SessionError; then LinkError, with which the link is to be refused. */
  checkHandle({ handle }: Attach): void {
    const limit = this.#host.connection.services.broker.limits.maxLinksPerSession;
    if (handle >= limit) {
      throw new ConnectionError(
        CONDITION.FRAMING_ERROR,
        `Handle ${handle} is above the session's handle-max ${limit - 1}.`,
      );
    }
    if (
      this.incoming[handle] !== undefined ||
      this.outgoing[handle] !== undefined ||
      this.#detaching.has(handle)
    ) {
      throw new SessionError(CONDITION.HANDLE_IN_USE, `Handle ${handle} is in use.`);
    }
  }

  checkQuota(attach: Attach): void {
    const { maxLinks } = this.#host.connection.settings;
    if (this.#host.connection.linkCount >= maxLinks) {
      throw new LinkError(
        CONDITION.RESOURCE_LIMIT,
        `This connection has ${maxLinks} links, no more are allowed.`,
      );
    }
    if (attach.name.length > MAX_NAME) {
      throw new LinkError(
        CONDITION.INVALID_FIELD,
        `A link's name must not be longer than ${MAX_NAME} characters.`,
      );
    }
  }

  /** Answers with a null terminus, then detaches: Qpid JMS and others wait for the error only then (spec §6.5). */
  refuse(attach: Attach, error: ErrorInfo): void {
    const { connection, channel } = this.#host;
    connection.send(
      channel,
      attachFrame({
        ...answerTo(attach),
        source: attach.isReceiver ? NULL : (attach.source ?? NULL),
        target: attach.isReceiver ? (attach.target ?? NULL) : NULL,
        maxMessageSize: 0,
        offeredCapabilities: [],
      }),
    );
    this.#detaching.add(attach.handle);
    connection.send(channel, detachFrame(attach.handle, true, error));
  }

  addIncoming(link: IncomingLink): void {
    this.incoming[link.handle] = link;
    this.#host.connection.linkCount++;
  }

  addOutgoing(link: SenderLink): void {
    this.outgoing[link.handle] = link;
    this.#host.connection.linkCount++;
  }

  /** A link's name belongs to its newest attachment (AMQP 1.0 part 2, 2.6.1). */
  steal(attach: Attach): void {
    this.#errant.delete(attach.handle);
    const links = attach.isReceiver ? this.outgoing : this.incoming;
    for (const link of links) {
      if (link?.name !== attach.name) continue;
      this.detach(link.handle, {
        condition: CONDITION.STOLEN,
        description: "A link of this name was attached again.",
      });
    }
  }

  onDetach(detach: Detach): void {
    const { handle } = detach;
    this.#host.settlements.flush();
    if (this.#detaching.delete(handle)) {
      this.#errant.add(handle);
      return;
    }
    const link = this.incoming[handle] ?? this.outgoing[handle];
    if (link === undefined) throw this.noLink(handle, "detach");
    this.outgoing[handle]?.answerNow();
    this.#remove(handle);
    let error: ErrorInfo | undefined;
    try {
      link.close(detach.isClosed);
    } catch (problem) {
      error = errorInfo(problem, this.#host.connection);
    }
    this.#host.connection.send(this.#host.channel, detachFrame(handle, detach.isClosed, error));
  }

  /** Ends a link from our side. */
  detach(handle: number, error: ErrorInfo, isClosed = true): void {
    const link = this.incoming[handle] ?? this.outgoing[handle];
    if (link === undefined) return;
    this.outgoing[handle]?.answerNow();
    this.#remove(handle);
    try {
      link.close(false);
    } catch (problem) {
      errorInfo(problem, this.#host.connection);
    }
    this.#detaching.add(handle);
    this.#host.connection.send(this.#host.channel, detachFrame(handle, isClosed, error));
  }

  #remove(handle: number): void {
    if (this.outgoing[handle] !== undefined) {
      const { settlements } = this.#host;
      if (settlements.isCollecting(this.outgoing[handle])) settlements.flush();
      settlements.unsettled.dropLink(handle);
    }
    this.incoming[handle] = undefined;
    this.outgoing[handle] = undefined;
    this.#host.connection.linkCount--;
  }

  fail(handle: number, link: IncomingLink, error: unknown): void {
    // Undecodable frames and errors of the session cost more than the link.
    if (error instanceof ConnectionError && !(error instanceof LinkError)) throw error;
    if (this.incoming[handle] !== link) return;
    this.detach(handle, errorInfo(error, this.#host.connection));
  }

  noLink(handle: number, frame: string): SessionError {
    return new SessionError(
      this.#errant.has(handle) ? CONDITION.ERRANT_LINK : CONDITION.UNATTACHED_HANDLE,
      `A ${frame} came for handle ${handle}, which is not attached.`,
    );
  }

  /** Frames for it are dropped: we have ended it, and the peer does not know yet. */
  isEnding(handle: number): boolean {
    return this.#detaching.has(handle);
  }

  /** Closes every link in order: what is unsettled is released. */
  closeAll(): void {
    const { incoming, outgoing } = this;
    const { connection } = this.#host;
    for (let handle = 0; handle < Math.max(incoming.length, outgoing.length); handle++) {
      const link = incoming[handle] ?? outgoing[handle];
      if (link === undefined) continue;
      incoming[handle] = undefined;
      outgoing[handle] = undefined;
      connection.linkCount--;
      try {
        link.close(false);
      } catch (problem) {
        errorInfo(problem, connection);
      }
    }
  }
}
