/**
 * One peer: finds frames in its bytes, lets it in, hands frames to its session, answers mistakes with ERROR, keeps
 * heart-beats in both directions.
 *
 *   new ── CONNECT ──▶ authenticating ──▶ open ── DISCONNECT ──▶ leaving ──▶ over
 *
 * Back-pressure: a frame that the broker has no room for, or whose receipt would not fit, is left where it is and reading
 * stops until there is room.
 */
import type { BrokerConnection } from "../../src/broker/facade.ts";
import type { ProtocolServices } from "../../src/broker/protocol-services.ts";
import { BrokerError } from "../../src/model/errors.ts";
import type { Principal } from "../../src/security/principal.ts";
import type { ProtocolConnection, Wire } from "../../src/transport/wire.ts";
import { COMMAND, commandName } from "./codec/commands.ts";
import { FrameParser } from "./codec/frame-parser.ts";
import { writeFrame } from "./codec/frame-writer.ts";
import { headerLine } from "./codec/header-escape.ts";
import { HEADER } from "./codec/header-names.ts";
import { type ConnectFrame, connectedHeaders, readConnect } from "./connect.ts";
import { fromBrokerError, StompError } from "./errors.ts";
import { Heartbeat } from "./heartbeat.ts";
import type { StompOptions } from "./options.ts";
import { Session, type SessionOwner } from "./session.ts";

const SERVER_NAME = "Sluice";
/**
 * With the charset said: stompit 1.0 takes the bare `text/plain` as the sign to read the body, and then brings its
 * application down with an error nobody can catch.
 */
const ERROR_TYPE = "content-type:text/plain;charset=utf-8\n";
/** Receipts that cannot be given by then (the disk does not answer) are given up. */
const LEAVING_LIMIT_MS = 30_000;
/** How long the peer may take to end the connection after our last words. */
const LINGER_MS = 1000;

const LF = 0x0a;

type State = "new" | "authenticating" | "open" | "leaving" | "over";

export class StompConnection implements ProtocolConnection, SessionOwner {
  readonly #services: ProtocolServices;
  readonly #options: StompOptions;
  readonly #wire: Wire;
  readonly #parser: FrameParser;
  readonly #heartbeat: Heartbeat;
  readonly #openedAt: number;
  #state: State = "new";
  #session: Session | null = null;
  #wanted = 0;
  #isHeld = false;
  #leavingAt = 0;
  /** The ERROR that goes out behind the last receipts. */
  #lastWords: { readonly headers: string; readonly body: string } | null = null;

  constructor(services: ProtocolServices, options: StompOptions, wire: Wire) {
    this.#services = services;
    this.#options = options;
    this.#wire = wire;
    // Before it is known who speaks, a frame is a CONNECT, and a CONNECT has no body.
    this.#parser = new FrameParser("client", {
      maxHeaders: options.maxHeaders,
      maxHeaderBytes: options.maxHeaderBytes,
      maxBodyBytes: Math.min(options.maxBodyBytes, services.broker.limits.maxMessageBytes),
    });
    this.#openedAt = services.broker.turn.uptime;
    this.#heartbeat = new Heartbeat(wire, this.#openedAt);
  }

  // ---- input

  onData(bytes: Buffer, start: number, end: number): number {
    this.#heartbeat.received(this.#services.broker.turn.uptime);
    let at = start;
    while (at < end) {
      if (this.#isDone) return end;
      if (this.#state === "authenticating" || this.#isHeld) break;
      at = this.#takeAlike(bytes, at, end);
      if (at === end) break;
      const next = this.#nextFrame(bytes, at, end);
      if (next < 0) {
        this.#session?.endOfChunk();
        return this.#isDone ? end : this.#parser.rest;
      }
      if (!this.#handle(bytes)) {
        // The same frame again, once there is room.
        at = this.#parser.base;
        break;
      }
      at = next;
    }
    this.#wanted = 0;
    this.#session?.endOfChunk();
    return at;
  }

  wantedBytes(): number {
    return this.#wanted;
  }

  /** Where frames begin that are not like those before. */
  #takeAlike(bytes: Buffer, at: number, end: number): number {
    if (this.#session === null || !this.#parser.isBetweenFrames) return at;
    // Many clients write a line end after each frame.
    while (at < end && bytes[at] === LF) at++;
    return this.#session.takeAlike(bytes, at, end);
  }

  /** Index after the next frame; −1 when there is none yet, or the peer broke the rules. */
  #nextFrame(bytes: Buffer, at: number, end: number): number {
    const parser = this.#parser;
    try {
      const next = parser.next(bytes, at, end);
      if (next < 0) this.#wanted = parser.wanted;
      return next;
    } catch (error) {
      this.#refuse(error, bytes);
      return -1;
    }
  }

  /** False: no room for this frame now. */
  #handle(bytes: Buffer): boolean {
    const parser = this.#parser;
    try {
      const session = this.#session;
      if (session === null) {
        this.#connect(bytes);
        return true;
      }
      if (!session.hasRoomFor(parser, bytes, this.#release)) {
        this.#isHeld = true;
        this.#wire.pauseInput();
        return false;
      }
      if (parser.command === COMMAND.DISCONNECT) this.#disconnect(session, bytes);
      else if (parser.command <= COMMAND.STOMP) {
        throw new StompError("Unexpected command", "This connection is connected already.");
      } else session.handle(parser, bytes);
    } catch (error) {
      this.#refuse(error, bytes);
    }
    return true;
  }

  readonly #release = (): void => {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#heartbeat.received(this.#services.broker.turn.uptime);
    if (!this.#isOver) this.#wire.resumeInput();
  };

  // ---- CONNECT

  #connect(bytes: Buffer): void {
    const parser = this.#parser;
    if (parser.command > COMMAND.STOMP) {
      throw new StompError(
        "Not connected",
        `The first frame has to be CONNECT or STOMP, not ${commandName(parser.command)}.`,
      );
    }
    const frame = readConnect(parser, bytes, this.#options);
    const { authenticator } = this.#services;
    if (!frame.hasCredentials) {
      this.#open(frame, authenticator.withoutCredentials(this.#wire.info));
      return;
    }
    this.#state = "authenticating";
    this.#wire.pauseInput();
    authenticator.checkPassword(frame.login, frame.passcode, this.#wire.info).then(
      (principal) => this.#authenticated(frame, principal),
      (error: unknown) => this.#authenticated(frame, undefined, error),
    );
  }

  #authenticated(frame: ConnectFrame, principal: Principal | undefined, error?: unknown): void {
    if (this.#state !== "authenticating") return;
    this.#services.broker.turn.touch();
    try {
      if (error !== undefined) throw error;
      this.#open(frame, principal);
    } catch (refusal) {
      this.#refuse(refusal);
    }
    this.#wire.resumeInput();
  }

  #open(frame: ConnectFrame, principal: Principal | undefined): void {
    if (principal === undefined) {
      const who = frame.hasCredentials ? `user '${frame.login.slice(0, 80)}'` : "anonymous user";
      throw new StompError("Bad CONNECT", `Access refused for ${who}`);
    }
    const { broker } = this.#services;
    const { info } = this.#wire;
    const connection = this.#register(frame, principal);
    this.#parser.version = frame.version;
    this.#session = new Session({
      broker,
      wire: this.#wire,
      connection,
      version: frame.version,
      options: this.#options,
      owner: this,
    });
    this.#state = "open";
    this.#heartbeat.agree(
      frame.heartbeats,
      this.#session,
      this.#options.idleTimeoutMs,
      broker.turn.uptime,
    );
    const user = principal.isAnonymous ? undefined : principal.name;
    const server = `${SERVER_NAME}/${broker.version}`;
    writeFrame(
      this.#wire,
      "CONNECTED",
      connectedHeaders(frame, `${broker.nodeName}-${connection.id}`, server, user),
      "",
    );
    this.#services.logger.debug("stomp.connected", {
      user: principal.name,
      version: frame.version,
      remote: info.remoteAddress,
    });
  }

  #register(frame: ConnectFrame, principal: Principal): BrokerConnection {
    const { info } = this.#wire;
    try {
      return this.#services.broker.connect({
        protocol: "stomp",
        remoteAddress: info.remoteAddress,
        remotePort: info.remotePort,
        principal,
        peer: info,
        clientId: frame.clientId,
        namespace: frame.namespace,
        clientIdPolicy: "refuse",
        close: (reason) => this.#refuse(reason),
      });
    } catch (error) {
      if (error instanceof BrokerError && error.code === "resource-locked") {
        throw new StompError("client-id in use", error.message);
      }
      throw error;
    }
  }

  // ---- DISCONNECT

  #disconnect(session: Session, bytes: Buffer): void {
    this.#leave(session);
    const parser = this.#parser;
    const index = parser.indexOf(HEADER.RECEIPT);
    if (index >= 0) {
      const at = index * 4;
      const { base, table } = parser;
      session.receipts.request(bytes, base + table[at + 2]!, base + table[at + 3]!, true);
    }
    session.receipts.disconnect();
  }

  onDisconnectDue(): void {
    const words = this.#lastWords;
    if (words !== null) writeFrame(this.#wire, "ERROR", words.headers, words.body);
    this.#finish();
  }

  onReceipts(): void {
    if (this.#session !== null) this.#session.hasWritten = true;
    if (this.#isHeld && this.#session?.receipts.isFull === false) this.#release();
  }

  // ---- mistakes

  onSubscriptionEnded(reason: BrokerError): void {
    this.#refuse(reason);
  }

  /** Tells the peer; ends the connection unless this kind of mistake may be survived. `bytes`: of the frame at fault. */
  #refuse(error: unknown, bytes?: Buffer): void {
    if (this.#isOver || this.#state === "leaving") return;
    const told = this.#explain(error);
    const { version } = this.#parser;
    let headers = headerLine("message", told.message, version);
    headers += told.headers;
    let command = "";
    if (bytes !== undefined && this.#parser.command !== 0) {
      command = `\n\nThe frame was ${commandName(this.#parser.command)}.`;
      const receipt = this.#parser.text(bytes, HEADER.RECEIPT);
      if (receipt !== undefined) headers += headerLine("receipt-id", receipt, version);
    }
    headers += ERROR_TYPE;
    const body = `${told.detail || told.message}${command}`;
    const isSurvivable =
      !told.isFatal &&
      bytes !== undefined &&
      (this.#parser.command === COMMAND.UNSUBSCRIBE || !this.#options.strictErrors);
    if (isSurvivable && this.#session !== null) {
      writeFrame(this.#wire, "ERROR", headers, body);
      this.#session.hasWritten = true;
    } else this.#endWith(headers, body);
  }

  /** ERROR is the last word. What was sent before the mistake still gets its receipts, if they are on their way. */
  #endWith(headers: string, body: string): void {
    const session = this.#session;
    if (session === null || !session.receipts.isWaiting) {
      writeFrame(this.#wire, "ERROR", headers, body);
      this.#finish();
      return;
    }
    this.#lastWords = { headers, body };
    this.#leave(session);
    session.receipts.disconnect();
  }

  /** Nothing is taken in any more; receipts are still to go out. */
  #leave(session: Session): void {
    this.#state = "leaving";
    this.#leavingAt = this.#services.broker.turn.uptime;
    session.disconnect();
  }

  #explain(error: unknown): StompError {
    if (error instanceof StompError) return error;
    if (error instanceof BrokerError) return fromBrokerError(error);
    this.#services.logger.error("stomp.bug", {
      remote: this.#wire.info.remoteAddress,
      error: error instanceof Error ? error : new Error(String(error)),
    });
    return new StompError("internal error", "The broker could not handle this frame; see its log.");
  }

  /** No more input is wanted. */
  get #isDone(): boolean {
    return this.#state === "leaving" || this.#state === "over";
  }

  get #isOver(): boolean {
    return this.#state === "over";
  }

  /** Last words are written; ends the connection. */
  #finish(): void {
    if (this.#isOver) return;
    this.#state = "over";
    this.#heartbeat.stop();
    this.#session?.close();
    this.#wire.end(LINGER_MS);
  }

  // ---- life

  onDrain(): void {
    this.#session?.onDrain();
  }

  onTick(uptimeMs: number): void {
    if (this.#isOver) return;
    if (this.#session === null) {
      if (uptimeMs - this.#openedAt > this.#options.handshakeTimeoutMs) {
        this.#refuse(new StompError("Bad CONNECT", "CONNECT did not come in time."));
      }
      return;
    }
    if (this.#state === "leaving" && uptimeMs - this.#leavingAt > LEAVING_LIMIT_MS) {
      this.onDisconnectDue();
      return;
    }
    if (this.#isHeld || this.#state !== "open") return;
    if (this.#heartbeat.tick(uptimeMs) === "dead") this.#abandon();
  }

  /** Silent for too long: whoever was there does not read an ERROR either. */
  #abandon(): void {
    this.#services.logger.info("stomp.heartbeat-missed", {
      remote: this.#wire.info.remoteAddress,
      message: "no heart-beat or frame came in time; connection closed",
    });
    this.#refuse(new StompError("heart-beat missed", "No heart-beat or frame came in time."));
  }

  onShutdown(): void {
    if (this.#isOver || this.#state === "leaving") return;
    this.#refuse(new StompError("the broker is shutting down", "The broker is shutting down."));
  }

  onClose(_error: Error | null): void {
    this.#heartbeat.stop();
    if (this.#isOver) return;
    this.#state = "over";
    this.#session?.close();
  }
}
