/**
 * CONNECT and STOMP frames: what the peer asks for, and CONNECTED, what it gets (STOMP 1.2 "Connecting",
 * "Heart-beating", "Protocol Negotiation"). Pure: who the peer is, others decide.
 */
import { isIP } from "node:net";
import { hostname } from "node:os";
import type { FrameParser } from "./codec/frame-parser.ts";
import { headerLine, type StompVersion, VERSION_TEXT } from "./codec/header-escape.ts";
import { HEADER } from "./codec/header-names.ts";
import { StompError } from "./errors.ts";
import type { StompOptions } from "./options.ts";

export interface ConnectFrame {
  readonly version: StompVersion;
  readonly namespace: string;
  readonly login: string;
  readonly passcode: string;
  readonly hasCredentials: boolean;
  readonly clientId: string;
  readonly requestId: string | undefined;
  readonly heartbeats: Heartbeats;
}

/** Agreed intervals, ms; 0 for none. */
export interface Heartbeats {
  /** What we answer in CONNECTED. */
  readonly offered: string;
  readonly sendMs: number;
  readonly receiveMs: number;
}

/** No interval shorter than this is promised. */
const MIN_SEND_MS = 500;
const MAX_HEARTBEAT_MS = 0x7fff_ffff;

export function readConnect(
  parser: FrameParser,
  bytes: Buffer,
  options: StompOptions,
): ConnectFrame {
  const version = chooseVersion(parser.text(bytes, HEADER.ACCEPT_VERSION));
  const login = parser.text(bytes, HEADER.LOGIN) ?? "";
  const passcode = parser.text(bytes, HEADER.PASSCODE) ?? "";
  return {
    version,
    namespace: chooseNamespace(parser.text(bytes, HEADER.HOST), options),
    login,
    passcode,
    hasCredentials: login !== "" || passcode !== "",
    clientId: parser.text(bytes, HEADER.CLIENT_ID) ?? "",
    requestId: parser.text(bytes, HEADER.REQUEST_ID),
    heartbeats: chooseHeartbeats(parser.text(bytes, HEADER.HEART_BEAT), version, options),
  };
}

/** The highest version both sides know; a peer that names none speaks 1.0. */
export function chooseVersion(accepted: string | undefined): StompVersion {
  if (accepted === undefined) return 10;
  const versions = accepted.split(",").map((version) => version.trim());
  for (const version of [12, 11, 10] as const) {
    if (versions.includes(VERSION_TEXT[version])) return version;
  }
  throw new StompError(
    "Version not supported",
    `Supported protocol versions are 1.0 1.1 1.2, not "${accepted.slice(0, 60)}".`,
    { headers: "version:1.0,1.1,1.2\n" },
  );
}

/**
 * The namespace that `host` names. The specification lets clients put the host name there by which they reached the
 * broker, so host names and addresses stand for the default namespace.
 */
export function chooseNamespace(host: string | undefined, options: StompOptions): string {
  if (host === undefined || host === "" || host === "/") return "/";
  if (options.virtualHosts.includes(host)) return host;
  const name = host.toLowerCase();
  const isHostName =
    name === "localhost" ||
    name === hostname().toLowerCase() ||
    name.includes(".") ||
    isIP(name.replace(/^\[|\]$/g, "")) !== 0;
  if (isHostName || options.acceptAnyHost) return "/";
  throw new StompError(
    "Bad CONNECT",
    `Virtual host '${host.slice(0, 80)}' access denied: send host:/ or a host name, or list it in stomp.virtualHosts.`,
  );
}

/** `cx,cy` of the client against what we offer: each direction beats at the slower of the two wishes, 0 meaning never. */
export function chooseHeartbeats(
  asked: string | undefined,
  version: StompVersion,
  options: StompOptions,
): Heartbeats {
  const { heartbeatSendMs, heartbeatReceiveMs } = options;
  const offered = `${heartbeatSendMs},${heartbeatReceiveMs}`;
  if (version === 10 || asked === undefined) return { offered, sendMs: 0, receiveMs: 0 };
  const match = /^\s*(\d{1,12})\s*,\s*(\d{1,12})\s*$/.exec(asked);
  if (match === null) {
    throw new StompError(
      "Invalid heart-beat",
      `"${asked.slice(0, 60)}" is not of the form <milliseconds>,<milliseconds>.`,
    );
  }
  const clientSends = Math.min(Number(match[1]), MAX_HEARTBEAT_MS);
  const clientWants = Math.min(Number(match[2]), MAX_HEARTBEAT_MS);
  return {
    offered,
    sendMs:
      heartbeatSendMs === 0 || clientWants === 0
        ? 0
        : Math.max(heartbeatSendMs, clientWants, MIN_SEND_MS),
    receiveMs:
      heartbeatReceiveMs === 0 || clientSends === 0 ? 0 : Math.max(heartbeatReceiveMs, clientSends),
  };
}

/** The headers of CONNECTED; never escaped. A 1.0 peer gets them too: it ignores what it does not know. */
export function connectedHeaders(
  frame: ConnectFrame,
  session: string,
  server: string,
  userName: string | undefined,
): string {
  const plain = (name: string, value: string): string =>
    headerLine(name, value, 10).replaceAll("\0", "");
  let headers = `version:${VERSION_TEXT[frame.version]}\n`;
  headers += plain("session", session);
  headers += plain("server", server);
  headers += `heart-beat:${frame.heartbeats.offered}\n`;
  if (userName !== undefined) headers += plain("user-name", userName);
  if (frame.requestId !== undefined) headers += plain("response-id", frame.requestId);
  return headers;
}
