/**
 * Puts the configuration together: standard listeners, then the file, then the environment, then flags; the later wins,
 * key by key. Every complaint says where the value came from (file and line, variable, flag) and what to write instead.
 */
import { readFileSync } from "node:fs";
import { parse, TomlError } from "smol-toml";
import { configKeys, environmentName, singleKeys } from "./keys.ts";
import { ConfigError, type ConfigSources } from "./load-error.ts";
import { nearest } from "./nearest.ts";
import { type Config, configSchema, STANDARD_LISTENERS } from "./schema.ts";
import { tomlLines } from "./toml-lines.ts";

export { ConfigError, type ConfigSources } from "./load-error.ts";

/** Variables of ours that are no configuration. */
const OTHER_VARIABLES = new Set(["SLUICE_CONFIG", "SLUICE_URL", "SLUICE_USER", "SLUICE_PASSWORD"]);

type Tree = { [key: string]: unknown };

export function loadConfig(sources: ConfigSources = {}): Config {
  const loader = new Loader();
  for (const [name, listener] of Object.entries(STANDARD_LISTENERS)) {
    loader.tree["listeners"] ??= {};
    (loader.tree["listeners"] as Tree)[name] = { ...listener };
  }
  if (sources.file !== undefined) loader.addFile(sources.file);
  loader.addEnvironment(sources.environment ?? {});
  for (const setting of sources.settings ?? []) loader.addSetting(setting);
  if (sources.data !== undefined) loader.set(["data"], sources.data, "--data");
  if (sources.port !== undefined) loader.onlyPort(sources.port);
  return loader.finish();
}

class Loader {
  readonly tree: Tree = {};
  readonly #problems: string[] = [];
  /** Where a value came from, by dotted path. */
  readonly #origins = new Map<string, string>();

  addFile(file: string): void {
    let source: string;
    try {
      source = readFileSync(file, "utf8");
    } catch (error) {
      throw new ConfigError([
        `${file}: cannot be read (${(error as NodeJS.ErrnoException).code ?? error})`,
      ]);
    }
    let parsed: Tree;
    try {
      parsed = parse(source) as Tree;
    } catch (error) {
      if (!(error instanceof TomlError)) throw error;
      const what = error.message.split("\n")[0]!.replace(/^Invalid TOML document: /, "");
      throw new ConfigError([`${file}:${error.line}: not valid TOML: ${what}`]);
    }
    const lines = tomlLines(source);
    this.#merge(this.tree, parsed, [], (path) => {
      for (let i = path.length; i > 0; i--) {
        const line = lines.get(path.slice(0, i).join("."));
        if (line !== undefined) return `${file}:${line}`;
      }
      return file;
    });
  }

  addEnvironment(environment: Readonly<Record<string, string | undefined>>): void {
    const names = Object.keys(environment).filter(
      (name) => name.startsWith("SLUICE_") && !OTHER_VARIABLES.has(name),
    );
    for (const name of names) {
      const path = keyOfVariable(name);
      if (path === undefined) {
        const known = singleKeys().map((key) => environmentName(key.path));
        this.#problems.push(unknown(name, "variable", nearest(name, known)));
      } else {
        this.set(path, this.#read(path, environment[name]!), name);
      }
    }
  }

  addSetting(setting: string): void {
    const equals = setting.indexOf("=");
    if (equals < 1 || setting.includes("__proto__")) {
      this.#problems.push(`--set ${setting}: expected key=value`);
      return;
    }
    const path = setting.slice(0, equals).trim().split(".");
    this.set(path, this.#read(path, setting.slice(equals + 1)), `--set ${path.join(".")}`);
  }

  onlyPort(port: string): void {
    const main = (this.tree["listeners"] as Tree)["main"] as Tree;
    const isPort = /^\d+$/.test(port) && Number(port) <= 65535;
    if (!isPort) this.#problems.push(`--port ${port}: expected a number up to 65535`);
    this.tree["listeners"] = {
      main: { ...main, enabled: true, path: "", port: isPort ? Number(port) : 0 },
    };
  }

  set(path: readonly string[], value: unknown, origin: string): void {
    let at = this.tree;
    for (const part of path.slice(0, -1)) {
      if (typeof at[part] !== "object" || at[part] === null) at[part] = {};
      at = at[part] as Tree;
    }
    at[path.at(-1)!] = value;
    this.#origins.set(path.join("."), origin);
  }

  finish(): Config {
    const result = configSchema.safeParse(this.tree);
    for (const issue of result.error?.issues ?? []) {
      const path = issue.path.map(String);
      if (issue.code === "unrecognized_keys") {
        for (const key of issue.keys) {
          const name = [...path, key].join(".");
          this.#problems.push(
            `${this.#originOf([...path, key])}: ${unknown(name, "key", nearestKey(path, key))}`,
          );
        }
        continue;
      }
      const message =
        issue.code === "invalid_key"
          ? (issue.issues[0]?.message ?? issue.message)
          : issue.message.replace(/^Invalid input: /, "").replace(/, received (.*)$/, ", not $1");
      this.#problems.push(`${this.#originOf(path)}: ${path.join(".")}: ${message}`);
    }
    this.#checkListeners();
    if (!result.success || this.#problems.length > 0) throw new ConfigError(this.#problems);
    return result.data;
  }

  /** A listener that the standard ones do not cover must say where it listens: its name may be a slip. */
  #checkListeners(): void {
    const listeners = this.tree["listeners"];
    if (typeof listeners !== "object" || listeners === null) return;
    for (const [name, listener] of Object.entries(listeners as Tree)) {
      if (typeof listener !== "object" || listener === null) continue;
      if ("port" in listener || "path" in listener) continue;
      const near = nearest(name, Object.keys(STANDARD_LISTENERS));
      this.#problems.push(
        `${this.#originOf(["listeners", name])}: listeners.${name}: a new listener needs a port or a path${
          near === undefined ? "" : ` (or is "listeners.${near}" meant?)`
        }`,
      );
    }
  }

  #merge(into: Tree, from: Tree, path: string[], origin: (path: string[]) => string): void {
    for (const [key, value] of Object.entries(from)) {
      const here = [...path, key];
      this.#origins.set(here.join("."), origin(here));
      const old = into[key];
      if (isTable(value) && isTable(old)) this.#merge(old, value, here, origin);
      else if (isTable(value)) {
        const table: Tree = {};
        into[key] = table;
        this.#merge(table, value, here, origin);
      } else into[key] = value;
    }
  }

  /** Text from outside a file: a TOML value where the key wants one, else as it stands. */
  #read(path: readonly string[], value: string): unknown {
    const generic = path[0] === "listeners" ? ["listeners", "*", ...path.slice(2)] : path;
    const key = singleKeys().find((candidate) => candidate.path === generic.join("."));
    if (key === undefined || key.isText) return value;
    try {
      return (parse(`value = ${value}`) as Tree)["value"];
    } catch {
      // A list may come as plain words too: `a,b`.
      return key.type === "list of text" ? value.split(",").map((word) => word.trim()) : value;
    }
  }

  #originOf(path: readonly string[]): string {
    for (let i = path.length; i > 0; i--) {
      const origin = this.#origins.get(path.slice(0, i).join("."));
      if (origin !== undefined) return origin;
    }
    // A flag or variable may have set something below it.
    const below = `${path.join(".")}.`;
    for (const [name, origin] of this.#origins) if (name.startsWith(below)) return origin;
    return "configuration";
  }
}

const isTable = (value: unknown): value is Tree =>
  typeof value === "object" &&
  value !== null &&
  !Array.isArray(value) &&
  Object.getPrototypeOf(value) !== Date.prototype;

function unknown(name: string, what: string, near: string | undefined): string {
  return near === undefined
    ? `unknown ${what} "${name}" (docs/configuration.md lists them all)`
    : `unknown ${what} "${name}", did you mean "${near}"?`;
}

/** The known key nearest to `key` in the table `path`; one of its neighbours if any is near. */
function nearestKey(path: readonly string[], key: string): string | undefined {
  // Positions of array elements are no part of a key's name.
  const prefix = path
    .map((part, i) => (path[0] === "listeners" && i === 1 ? "*" : part))
    .filter((part) => !/^\d+$/.test(part));
  const all = configKeys().map((known) => known.path.split("."));
  const concrete = (known: string[]): string =>
    known.map((part, i) => (part === "*" ? (path[i] ?? "NAME") : part)).join(".");
  const siblings = new Set(
    all
      .filter((known) => prefix.every((part, i) => known[i] === part))
      .map((known) => known[prefix.length]!),
  );
  const sibling = nearest(key, siblings);
  if (sibling !== undefined) return [...path, sibling].join(".");
  const elsewhere = all.find((known) => known.at(-1)!.toLowerCase() === key.toLowerCase());
  return elsewhere === undefined ? undefined : concrete(elsewhere);
}

function keyOfVariable(name: string): string[] | undefined {
  for (const { path } of singleKeys()) {
    const pattern = environmentName(path).replace("*", "([A-Z0-9]+)");
    const match = new RegExp(`^${pattern}$`).exec(name);
    if (match !== null) return path.replace("*", (match[1] ?? "").toLowerCase()).split(".");
  }
  return undefined;
}
