/** Every key of the configuration, read off the schema: for messages, environment names and the reference page. */
import * as z from "zod";
import { configSchema } from "./schema.ts";

export interface ConfigKey {
  /** Dotted; `*` stands for a listener's name. */
  readonly path: string;
  readonly type: string;
  /** As one would write it in TOML. */
  readonly fallback: string;
  readonly description: string;
  /** Takes text as it stands, without TOML quotes, from environment and flags. */
  readonly isText: boolean;
}

export interface ConfigSection {
  readonly path: string;
  /** An array of tables: only a file can have it. */
  readonly isList: boolean;
  readonly description: string;
  readonly keys: readonly ConfigKey[];
}

interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly string[];
  readonly items?: JsonSchema;
  readonly default?: unknown;
  readonly description?: string;
  readonly valueType?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | boolean;
}

let cache: readonly ConfigSection[] | undefined;

/** Sections in the order of the schema; keys at the top come first, under "". */
export function configSections(): readonly ConfigSection[] {
  if (cache !== undefined) return cache;
  const root = z.toJSONSchema(configSchema, {
    io: "input",
    unrepresentable: "any",
  }) as unknown as JsonSchema;
  const top: ConfigKey[] = [];
  const sections: ConfigSection[] = [];
  for (const [name, schema] of Object.entries(root.properties ?? {})) {
    const entry =
      typeof schema.additionalProperties === "object"
        ? schema.additionalProperties
        : (schema.items ?? null);
    const properties = entry?.properties ?? schema.properties;
    if (properties === undefined) {
      top.push(keyOf(name, schema));
      continue;
    }
    const isList = schema.items !== undefined;
    const path = entry === null || isList ? name : `${name}.*`;
    sections.push({
      path,
      isList,
      description: schema.description ?? "",
      keys: Object.entries(properties).map(([key, value]) => keyOf(`${path}.${key}`, value)),
    });
  }
  cache = [{ path: "", isList: false, description: "", keys: top }, ...sections];
  return cache;
}

export const configKeys = (): readonly ConfigKey[] =>
  configSections().flatMap((section) => section.keys);

/** Keys that one variable or flag can set. */
export const singleKeys = (): readonly ConfigKey[] =>
  configSections()
    .filter((section) => !section.isList)
    .flatMap((section) => section.keys);

/** SLUICE_LIMITS_CONNECTIONS_MAX for limits.connectionsMax. */
export const environmentName = (path: string): string =>
  `SLUICE_${path
    .split(".")
    .map((part) => part.replace(/([a-z])([A-Z])/g, "$1_$2").toUpperCase())
    .join("_")}`;

function keyOf(path: string, schema: JsonSchema): ConfigKey {
  const type =
    schema.valueType ??
    (schema.enum !== undefined
      ? schema.enum.map((value) => `"${value}"`).join(" | ")
      : schema.type === "array"
        ? "list of text"
        : schema.type === "string"
          ? "text"
          : String(schema.type));
  return {
    path,
    type,
    fallback: JSON.stringify(schema.default) ?? "",
    description: schema.description ?? "",
    isText: schema.type === "string" || schema.valueType !== undefined,
  };
}
