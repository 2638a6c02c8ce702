/** What to say when a frame lacks a header: also when it has one that only looks like it. */
import { commandName } from "./codec/commands.ts";
import type { FrameParser } from "./codec/frame-parser.ts";
import { type StompVersion, VERSION_TEXT } from "./codec/header-escape.ts";
import { HEADER, type HeaderId, headerText } from "./codec/header-names.ts";
import { StompError } from "./errors.ts";

export function missingHeader(
  parser: FrameParser,
  bytes: Buffer,
  header: HeaderId,
  version: StompVersion,
): StompError {
  const command = commandName(parser.command);
  return new StompError(
    "Missing header",
    `${command} needs the header ${headerText(header)} in STOMP ${VERSION_TEXT[version]}.${lookAlike(parser, bytes, header)}`,
  );
}

export function missingDestination(parser: FrameParser, bytes: Buffer): StompError {
  const command = commandName(parser.command);
  return new StompError(
    "No destination",
    `A ${command} frame needs the header destination.${lookAlike(parser, bytes, HEADER.DESTINATION)}`,
  );
}

/** A sentence about a header that was meant, perhaps. */
function lookAlike(parser: FrameParser, bytes: Buffer, header: HeaderId): string {
  const wanted = plain(headerText(header));
  for (let i = 0; i < parser.headerCount; i++) {
    const name = parser.nameAt(bytes, i);
    if (plain(name) !== wanted) continue;
    return ` It has "${name}": upper and lower case differ, and blanks belong to the name.`;
  }
  return "";
}

const plain = (name: string): string => name.trim().toLowerCase().replaceAll("_", "-");
