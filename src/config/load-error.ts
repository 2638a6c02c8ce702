/** What a configuration is made of, and what is wrong with it. No libraries behind this. */

export interface ConfigSources {
  /** Path of a TOML file. */
  readonly file?: string | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** `--set key=value`, in order. */
  readonly settings?: readonly string[];
  /** `--data`. */
  readonly data?: string | undefined;
  /** `--port`: one sniffed port instead of the listeners. */
  readonly port?: string | undefined;
}

/** One or more sentences for the person who wrote the configuration, one per line. */
export class ConfigError extends Error {
  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.name = "ConfigError";
  }
}
