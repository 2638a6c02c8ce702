/**
 * The PROXY protocol, versions 1 (text) and 2 (binary): who is really there when a proxy stands between. Pure; only
 * asked for peers whose address is trusted.
 */
import { isIP } from "node:net";

export type ProxyHeader =
  | { readonly kind: "more" }
  | { readonly kind: "malformed" }
  | {
      readonly kind: "header";
      readonly length: number;
      /** null: the proxy speaks for itself (health checks), or does not know. */
      readonly source: { readonly address: string; readonly port: number } | null;
    };

const V1_MAX = 107;
const V2_HEAD = 16;
const V2_MAX = 2048;
const V2_SIGNATURE_BYTE = 0x0d;
const MORE: ProxyHeader = { kind: "more" };
const MALFORMED: ProxyHeader = { kind: "malformed" };

export function parseProxyHeader(bytes: Buffer, start: number, end: number): ProxyHeader {
  return bytes[start] === V2_SIGNATURE_BYTE
    ? parseBinary(bytes, start, end)
    : parseText(bytes, start, end);
}

/** `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n` */
function parseText(bytes: Buffer, start: number, end: number): ProxyHeader {
  const stop = Math.min(end, start + V1_MAX);
  const lineEnd = bytes.subarray(start, stop).indexOf("\r\n");
  if (lineEnd < 0) return end - start >= V1_MAX ? MALFORMED : MORE;
  const words = bytes.toString("latin1", start, start + lineEnd).split(" ");
  const length = lineEnd + 2;
  if (words[0] !== "PROXY") return MALFORMED;
  if (words[1] === "UNKNOWN") return { kind: "header", length, source: null };
  const version = words[1] === "TCP4" ? 4 : words[1] === "TCP6" ? 6 : 0;
  const [address = "", , port = ""] = words.slice(2);
  if (version === 0 || words.length !== 6 || isIP(address) !== version) return MALFORMED;
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) return MALFORMED;
  return { kind: "header", length, source: { address, port: Number(port) } };
}

function parseBinary(bytes: Buffer, start: number, end: number): ProxyHeader {
  if (end - start < V2_HEAD) return MORE;
  const command = bytes[start + 12]!;
  const family = bytes[start + 13]!;
  const addressBytes = bytes.readUInt16BE(start + 14);
  if (command >> 4 !== 2 || addressBytes > V2_MAX) return MALFORMED;
  const length = V2_HEAD + addressBytes;
  if (end - start < length) return MORE;
  const local: ProxyHeader = { kind: "header", length, source: null };
  if ((command & 0x0f) === 0) return local;
  if ((command & 0x0f) !== 1) return MALFORMED;
  const at = start + V2_HEAD;
  if (family === 0x11) {
    if (addressBytes < 12) return MALFORMED;
    const address = bytes.subarray(at, at + 4).join(".");
    return { kind: "header", length, source: { address, port: bytes.readUInt16BE(at + 8) } };
  }
  if (family === 0x21) {
    if (addressBytes < 36) return MALFORMED;
    const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(at + 2 * i).toString(16));
    return {
      kind: "header",
      length,
      source: { address: groups.join(":"), port: bytes.readUInt16BE(at + 32) },
    };
  }
  // Datagrams, Unix sockets: nothing to say about who it is.
  return local;
}
