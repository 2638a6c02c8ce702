/** What a MIME content type tells: is it text, and in which character set. */
import { type Buffer, isUtf8 } from "node:buffer";

const TEXTUAL_APPLICATION: ReadonlySet<string> = new Set([
  "json",
  "xml",
  "javascript",
  "ecmascript",
  "xml-dtd",
]);

export const TEXT_PLAIN = "text/plain; charset=utf-8";
export const JSON_TYPE = "application/json";
export const JAVA_OBJECT = "application/x-java-serialized-object";
export const AMQP_TYPE = "application/amqp-1.0";

/** The types a JMS client shows as TextMessage: text/*, JSON and XML kinds. */
export function isTextual(contentType: string): boolean {
  const end = contentType.indexOf(";");
  const type = (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase();
  if (type.startsWith("text/")) return true;
  if (type.endsWith("+json") || type.endsWith("+xml")) return true;
  return type.startsWith("application/") && TEXTUAL_APPLICATION.has(type.slice(12));
}

/** The media type alone, lower case. */
export const mediaType = (contentType: string): string =>
  (contentType.split(";", 1)[0] ?? "").trim().toLowerCase();

/** The charset parameter in lower case, or utf-8. */
export function charsetOf(contentType: string): string {
  const found = /;\s*charset\s*=\s*"?([^";\s]+)"?/i.exec(contentType);
  return found === null ? "utf-8" : found[1]!.toLowerCase();
}

/** The text of a payload, or undefined when it is not valid in its character set or we do not know that set. */
export function decodeText(payload: Buffer, contentType: string): string | undefined {
  const charset = charsetOf(contentType);
  switch (charset) {
    case "utf-8":
    case "utf8":
    case "us-ascii":
    case "ascii":
      return isUtf8(payload) ? payload.toString("utf8") : undefined;
    case "iso-8859-1":
    case "latin1":
      return payload.toString("latin1");
    default:
      try {
        return new TextDecoder(charset, { fatal: true }).decode(payload);
      } catch {
        return undefined;
      }
  }
}

export const isValidUtf8 = (payload: Uint8Array): boolean => isUtf8(payload);
