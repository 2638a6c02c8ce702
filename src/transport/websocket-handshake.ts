/**
 * The opening handshake of a WebSocket (RFC 6455 §4.2), the side of the server: is this request one, and how is it
 * answered? No extension is agreed to: messages of the protocols here are compressed by their senders or not at all, and
 * compressing every frame would cost more than all the rest.
 */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** Sixteen bytes in base64. */
const KEY = /^[+/0-9A-Za-z]{22}==$/;
/** 8 is what drafts called the same framing. */
const VERSIONS: ReadonlySet<string | undefined> = new Set(["13", "8"]);

/** What is wrong with the request: a status, and a header that goes with it; null when nothing is. */
export function refusalOf(request: IncomingMessage): string | null {
  const { headers } = request;
  if (request.method !== "GET") return "405 Method Not Allowed\r\nAllow: GET";
  if (headers.upgrade?.toLowerCase() !== "websocket") return "400 Bad Request";
  if (!VERSIONS.has(headers["sec-websocket-version"]))
    return "426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13, 8";
  return KEY.test(headers["sec-websocket-key"] ?? "") ? null : "400 Bad Request";
}

/** The answer to a request that `refusalOf` found nothing wrong with. */
export function answerTo(request: IncomingMessage, subProtocol: string): string {
  const key = request.headers["sec-websocket-key"]!;
  const accept = createHash("sha1").update(`${key}${GUID}`).digest("base64");
  return [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Accept: ${accept}`,
    ...(subProtocol === "" ? [] : [`Sec-WebSocket-Protocol: ${subProtocol}`]),
    "\r\n",
  ].join("\r\n");
}
