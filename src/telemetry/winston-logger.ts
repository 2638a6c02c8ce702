/**
 * The Logger over winston: one line per event on standard output, for people on a terminal and as JSON everywhere else.
 * Control characters in values are escaped, so that nobody can write lines of their own into the log.
 */
import winston from "winston";
import type { LogFields, Logger, LogLevel, LogValue } from "./log.ts";

export interface LogOptions {
  readonly level: LogLevel;
  /** `auto`: pretty when `stream` is a terminal. */
  readonly format: "auto" | "pretty" | "json";
  readonly stream: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

interface Entry {
  readonly level: string;
  readonly message: unknown;
  readonly fields?: LogFields;
}

export function createLogger(options: LogOptions): Logger {
  const isTerminal = options.stream.isTTY === true;
  const isPretty = options.format === "pretty" || (options.format === "auto" && isTerminal);
  const sink = winston.createLogger({
    level: options.level,
    format: winston.format.printf((entry) =>
      isPretty ? prettyLine(entry as Entry, isTerminal) : jsonLine(entry as Entry),
    ),
    transports: [new winston.transports.Stream({ stream: options.stream })],
    exitOnError: false,
  });
  return new WinstonLogger(sink, {});
}

class WinstonLogger implements Logger {
  readonly #sink: winston.Logger;
  readonly #fields: LogFields;

  constructor(sink: winston.Logger, fields: LogFields) {
    this.#sink = sink;
    this.#fields = fields;
  }

  get isDebug(): boolean {
    return this.#sink.level === "debug";
  }
  setLevel(level: LogLevel): void {
    this.#sink.level = level;
  }

  debug(event: string, fields?: LogFields): void {
    if (this.isDebug) this.#write("debug", event, fields);
  }
  info(event: string, fields?: LogFields): void {
    this.#write("info", event, fields);
  }
  warn(event: string, fields?: LogFields): void {
    this.#write("warn", event, fields);
  }
  error(event: string, fields?: LogFields): void {
    this.#write("error", event, fields);
  }
  child(fields: LogFields): Logger {
    return new WinstonLogger(this.#sink, { ...this.#fields, ...fields });
  }

  #write(level: string, event: string, fields: LogFields = {}): void {
    this.#sink.log({ level, message: event, fields: { ...this.#fields, ...fields } });
  }
}

function jsonLine({ level, message, fields = {} }: Entry): string {
  const line: Record<string, unknown> = { time: new Date().toISOString(), level, event: message };
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Error) {
      line[name] = value.message;
      if (value.stack !== undefined) line["stack"] = value.stack;
    } else if (value !== undefined)
      line[name] = typeof value === "string" && name !== "message" ? cut(value) : value;
  }
  return JSON.stringify(line);
}

const COLOURS: Readonly<Record<string, string>> = {
  warn: "\x1b[33m",
  error: "\x1b[31m",
  debug: "\x1b[2m",
};

function prettyLine({ level, message, fields = {} }: Entry, isColoured: boolean): string {
  const time = new Date().toISOString().slice(11, 23);
  const { message: sentence, error, ...rest } = fields;
  const parts = [time, level.padEnd(5), String(message)];
  for (const [name, value] of Object.entries(rest)) {
    if (value !== undefined) parts.push(`${name}=${printValue(value)}`);
  }
  if (sentence !== undefined) parts.push(`- ${escapeControls(String(sentence))}`);
  let line = parts.join(" ");
  if (error !== undefined) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    // What it says may come from a client: it stays indented, and moves no cursor.
    for (const part of text.split(/\r\n|[\n\r\u2028\u2029]/))
      line += `\n      ${escapeControls(part)}`;
  }
  const colour = COLOURS[level];
  return isColoured && colour !== undefined ? `${colour}${line}\x1b[0m` : line;
}

const VALUE_MAX = 1000;

/** Names may be 64 KiB long. */
const cut = (text: string): string =>
  text.length <= VALUE_MAX ? text : `${text.slice(0, VALUE_MAX)}… (${text.length} characters)`;

function printValue(given: LogValue): string {
  const value = typeof given === "string" ? cut(given) : given;
  if (typeof value === "string" && !/[\s"=\p{C}]/u.test(value) && value !== "") return value;
  return typeof value === "string" ? JSON.stringify(escapeControls(value)) : String(value);
}

const escapeControls = (text: string): string =>
  text.replace(/\p{C}/gu, (c) => `\\u${c.codePointAt(0)!.toString(16).padStart(4, "0")}`);
