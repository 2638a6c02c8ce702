/**
 * Typed properties as text, for protocols whose headers are text, and for what AMQP 1.0 application properties cannot
 * hold (spec protocols.md §4.6). Scalars are their plain text and come back as strings; what text would destroy says so
 * in the name:
 *
 *   bytes       name `;b64`    base64
 *   list, map   name `;json`   typed JSON (typed-json.ts)
 *   null        ""             timestamp: ms since the epoch             uuid: urn:uuid:…
 */
import { Buffer } from "node:buffer";
import { fromTypedJson, toTypedJson } from "./typed-json.ts";
import { floatText, type Property, string, type Typed } from "./values.ts";

const BYTES_SUFFIX = ";b64";
export const JSON_SUFFIX = ";json";

/** The suffix this value adds to its name: "" for nearly all. */
export function nameSuffix(value: Typed): string {
  if (value.type === "bytes") return BYTES_SUFFIX;
  return value.type === "list" || value.type === "map" ? JSON_SUFFIX : "";
}

export function valueText(value: Typed): string {
  switch (value.type) {
    case "null":
      return "";
    case "f32":
    case "f64":
      return floatText(value.type, value.value);
    case "uuid":
      return `urn:uuid:${value.value}`;
    case "bytes":
      return Buffer.from(
        value.value.buffer,
        value.value.byteOffset,
        value.value.byteLength,
      ).toString("base64");
    case "list":
    case "map":
      return toTypedJson(value);
    default:
      return String(value.value);
  }
}

/** The property that a text header stands for; a suffix whose value does not fit it stays part of the name. */
export function propertyFromText(name: string, text: string): Property {
  if (name.endsWith(JSON_SUFFIX)) {
    const value = fromTypedJson(text);
    if (value !== undefined && (value.type === "list" || value.type === "map")) {
      return { name: name.slice(0, -JSON_SUFFIX.length), value };
    }
  } else if (name.endsWith(BYTES_SUFFIX) && /^[A-Za-z0-9+/]*={0,2}$/.test(text)) {
    return {
      name: name.slice(0, -BYTES_SUFFIX.length),
      value: { type: "bytes", value: Buffer.from(text, "base64") },
    };
  }
  return { name, value: string(text) };
}

/** For AMQP 1.0 application properties, which hold simple types only: lists and maps become `name;json` strings. */
export function simpleProperty(property: Property): Property {
  const { type } = property.value;
  if (type !== "list" && type !== "map") return property;
  return { name: property.name + JSON_SUFFIX, value: string(toTypedJson(property.value)) };
}

/** The inverse of simpleProperty, for what an AMQP 1.0 peer sends on. */
export function restoreProperty(property: Property): Property {
  return property.value.type === "string" && property.name.endsWith(JSON_SUFFIX)
    ? propertyFromText(property.name, property.value.value)
    : property;
}
