/**
 * The Logger seam. An event has a stable name (`connection.opened`, `store.recovered`) and fields; sentences for people
 * go into the field `message`. Never call it per message; guard anything costly with `isDebug`, a plain boolean field.
 */
export type LogValue = string | number | boolean | null | undefined | Error;
export type LogFields = Readonly<Record<string, LogValue>>;

export interface Logger {
  /** Are debug events wanted? Costs next to nothing to ask. */
  readonly isDebug: boolean;
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /** A logger that adds these fields to every event. */
  child(fields: LogFields): Logger;
  /** From now on events of this level and above, here and of all children. */
  setLevel?(level: LogLevel): void;
}

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Says nothing. */
export const SILENT: Logger = {
  isDebug: false,
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => SILENT,
};
