/** The commands of STOMP frames, as small numbers. */

export const COMMAND = {
  CONNECT: 1,
  STOMP: 2,
  SEND: 3,
  SUBSCRIBE: 4,
  UNSUBSCRIBE: 5,
  ACK: 6,
  NACK: 7,
  BEGIN: 8,
  COMMIT: 9,
  ABORT: 10,
  DISCONNECT: 11,
  // from a server
  CONNECTED: 12,
  MESSAGE: 13,
  RECEIPT: 14,
  ERROR: 15,
} as const;
export type Command = (typeof COMMAND)[keyof typeof COMMAND];

const NAMES = [
  "",
  "CONNECT",
  "STOMP",
  "SEND",
  "SUBSCRIBE",
  "UNSUBSCRIBE",
  "ACK",
  "NACK",
  "BEGIN",
  "COMMIT",
  "ABORT",
  "DISCONNECT",
  "CONNECTED",
  "MESSAGE",
  "RECEIPT",
  "ERROR",
] as const;
const NAME_BYTES = NAMES.map((name) => Buffer.from(name, "latin1"));

/** No command is longer; what is longer is not STOMP. */
export const MAX_COMMAND_BYTES = 32;

/** Commands by the length of their name. */
const BY_LENGTH: ReadonlyArray<readonly number[]> = Array.from({ length: 12 }, (_, length) =>
  NAME_BYTES.flatMap((name, command) => (command > 0 && name.length === length ? [command] : [])),
);

export const commandName = (command: number): string => NAMES[command] ?? "";

export const isFromServer = (command: number): boolean => command > COMMAND.DISCONNECT;

/** 1.2 "Body": only SEND, MESSAGE and ERROR may have one. */
export const mayHaveBody = (command: number): boolean =>
  command === COMMAND.SEND || command === COMMAND.MESSAGE || command === COMMAND.ERROR;

/** The command whose name is `bytes[start, end)`, or 0. */
export function commandAt(bytes: Buffer, start: number, end: number): number {
  const length = end - start;
  const candidates = BY_LENGTH[length];
  if (candidates === undefined) return 0;
  next: for (let c = 0; c < candidates.length; c++) {
    const name = NAME_BYTES[candidates[c]!]!;
    for (let i = 0; i < length; i++) if (bytes[start + i] !== name[i]) continue next;
    return candidates[c]!;
  }
  return 0;
}
