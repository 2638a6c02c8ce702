/** The sessions of one connection by channel, and the way of each frame to its session. */
import { PERFORMATIVE } from "./codec/codes.ts";
import { endFrame, readAttach, readBegin, readDetach, readGoodbye } from "./codec/performatives.ts";
import type { AmqpConnection } from "./connection.ts";
import { CONDITION, ConnectionError, SessionError } from "./errors.ts";
import { unknownPerformative } from "./frame-head.ts";
import { Session } from "./session.ts";

export class Channels {
  readonly #connection: AmqpConnection;
  readonly #sessions: Array<Session | undefined> = [];
  /** As we announced it. */
  max = 0;

  constructor(connection: AmqpConnection) {
    this.#connection = connection;
  }

  /** Everything but `close`, which is the connection's. False: held back, it has to come again. */
  onFrame(code: number, channel: number, bytes: Buffer, at: number, end: number): boolean {
    const session = this.#sessions[channel];
    if (session === undefined) {
      this.#onFrameWithoutSession(code, channel, bytes, at, end);
      return true;
    }
    if (session.isEnding && code !== PERFORMATIVE.END) return true;
    try {
      switch (code) {
        case PERFORMATIVE.TRANSFER:
          return session.onTransfer(bytes, at, end);
        case PERFORMATIVE.DISPOSITION:
          session.settlements.onDisposition(bytes, at, end);
          return true;
        case PERFORMATIVE.FLOW:
          session.onFlow(bytes, at, end);
          return true;
        case PERFORMATIVE.ATTACH:
          session.onAttach(readAttach(bytes, at, end));
          return true;
        case PERFORMATIVE.DETACH:
          session.links.onDetach(readDetach(bytes, at, end));
          return true;
        case PERFORMATIVE.END:
          this.#onEnd(session, readGoodbye("end", bytes, at, end));
          return true;
        case PERFORMATIVE.BEGIN:
          throw new ConnectionError(
            CONDITION.NOT_ALLOWED,
            `Channel ${channel} has a session already.`,
          );
        default:
          throw strange(code);
      }
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
      session.fail(error);
      return true;
    }
  }

  #onFrameWithoutSession(
    code: number,
    channel: number,
    bytes: Buffer,
    at: number,
    end: number,
  ): void {
    switch (code) {
      case PERFORMATIVE.BEGIN:
        if (channel > this.max) {
          throw new ConnectionError(
            CONDITION.FRAMING_ERROR,
            `Channel ${channel} is above channel-max ${this.max}.`,
          );
        }
        this.#sessions[channel] = new Session(this.#connection, channel, readBegin(bytes, at, end));
        return;
      case PERFORMATIVE.ATTACH:
      case PERFORMATIVE.FLOW:
      case PERFORMATIVE.TRANSFER:
      case PERFORMATIVE.DISPOSITION:
      case PERFORMATIVE.DETACH:
      case PERFORMATIVE.END:
        throw new ConnectionError(
          CONDITION.NOT_ALLOWED,
          `A frame came on channel ${channel}, where no session was begun.`,
        );
      default:
        throw strange(code);
    }
  }

  #onEnd(session: Session, error: string): void {
    const { logger } = this.#connection.services;
    if (error !== "" && logger.isDebug) logger.debug("amqp1.session-ended", { error });
    session.closeLinks();
    this.#sessions[session.channel] = undefined;
    if (!session.isEnding) this.#connection.send(session.channel, endFrame());
    session.isEnding = true;
  }

  /** What the frames of a chunk owe. */
  endChunk(): void {
    for (const session of this.#sessions) session?.endChunk();
  }

  onDrain(): void {
    for (const session of this.#sessions) session?.onDrain();
  }

  closeAll(): void {
    for (const session of this.#sessions) session?.closeLinks();
    this.#sessions.length = 0;
  }
}

const strange = (code: number): ConnectionError =>
  code === PERFORMATIVE.OPEN
    ? new ConnectionError(CONDITION.NOT_ALLOWED, "The connection is open already.")
    : unknownPerformative();
