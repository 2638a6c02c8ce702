/**
 * Escaping of header names and values.
 *
 *   version   written as                     read back as
 *   1.0       nothing is escaped             -
 *   1.1       \n \c \\                       LF : \
 *   1.2       \r \n \c \\                    CR LF : \
 *
 * CONNECT, STOMP and CONNECTED frames are never escaped (1.2 "Value Encoding"). What a 1.0 peer cannot be told (LF in a
 * value, CR at its end) stays in its escaped spelling, so that a value can never end its own header line.
 */

export type StompVersion = 10 | 11 | 12;

export const VERSION_TEXT: Readonly<Record<StompVersion, string>> = {
  10: "1.0",
  11: "1.1",
  12: "1.2",
};

const ESCAPED_12 = /[\r\n:\\]/g;
const ESCAPED_11 = /[\n:\\]/g;
const UNSAFE_10 = /[\r\n]/g;

function escapeOne(c: string): string {
  switch (c) {
    case "\r":
      return "\\r";
    case "\n":
      return "\\n";
    case ":":
      return "\\c";
    default:
      return "\\\\";
  }
}

/** Text for the wire of a peer of this version. */
export function escapeHeader(text: string, version: StompVersion): string {
  switch (version) {
    case 12:
      return text.replace(ESCAPED_12, escapeOne);
    case 11: {
      // A CR at the very end would be taken for part of the line end by lenient readers, ours among them.
      const escaped = text.replace(ESCAPED_11, escapeOne);
      return escaped.endsWith("\r") ? `${escaped.slice(0, -1)} ` : escaped;
    }
    case 10:
      return text.replace(UNSAFE_10, escapeOne);
  }
}

const SEQUENCE = /\\(.)/gs;

function unescapeOne(sequence: string, c: string): string {
  switch (c) {
    case "n":
      return "\n";
    case "c":
      return ":";
    case "r":
      return "\r";
    case "\\":
      return "\\";
    default:
      return sequence;
  }
}

/** The parser has checked that only sequences of the version occur. */
export const unescapeHeader = (text: string): string =>
  text.includes("\\") ? text.replace(SEQUENCE, unescapeOne) : text;

export const headerLine = (name: string, value: string, version: StompVersion): string =>
  `${escapeHeader(name, version)}:${escapeHeader(value, version)}\n`;

export const headerLineBytes = (name: string, value: string, version: StompVersion): Buffer =>
  Buffer.from(headerLine(name, value, version), "utf8");
