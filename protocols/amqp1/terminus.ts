/** Sources and targets of an attach: read from the wire, and written back with what we changed (spec protocols.md §6.5). */
import type { TemporaryLifetime } from "../../src/broker/facade.ts";
import { LIFETIME, TERMINUS } from "./codec/codes.ts";
import { descriptorNumber } from "./codec/decode.ts";
import { Fields } from "./codec/performatives.ts";
import { composite, mapGet, NULL, string, symbols, type Value } from "./codec/value.ts";
import { CONDITION, LinkError } from "./errors.ts";

const EXPIRY_POLICIES = ["link-detach", "session-end", "connection-close", "never"];

/** Positions of the fields; source and target share the first six. */
const FIELD = {
  ADDRESS: 0,
  DURABLE: 1,
  EXPIRY: 2,
  TIMEOUT: 3,
  DYNAMIC: 4,
  DYNAMIC_PROPERTIES: 5,
  DISTRIBUTION: 6,
  FILTER: 7,
  DEFAULT_OUTCOME: 8,
  OUTCOMES: 9,
  SOURCE_CAPABILITIES: 10,
  TARGET_CAPABILITIES: 6,
} as const;

interface Terminus {
  readonly value: Value;
  /** undefined: none was given. */
  readonly address: string | undefined;
  readonly durable: number;
  readonly expiry: string;
  readonly isDynamic: boolean;
  readonly dynamicProperties: Value | undefined;
  readonly capabilities: readonly string[];
}

export interface Source extends Terminus {
  readonly isCopy: boolean;
  readonly filter: Value | undefined;
  readonly defaultOutcome: Value | undefined;
  /** Empty: all of them. */
  readonly outcomes: readonly string[];
}

export type Target = Terminus;

export function readSource(value: Value): Source {
  const fields = fieldsOf(value, TERMINUS.SOURCE, "source");
  const distribution = fields.text(FIELD.DISTRIBUTION, "distribution-mode");
  if (distribution !== undefined && distribution !== "move" && distribution !== "copy") {
    throw invalid("source.distribution-mode is neither move nor copy.");
  }
  return {
    ...common(value, fields, "source"),
    capabilities: fields.symbols(FIELD.SOURCE_CAPABILITIES, "capabilities"),
    isCopy: distribution === "copy",
    filter: fields.map(FIELD.FILTER, "filter"),
    defaultOutcome: fields.get(FIELD.DEFAULT_OUTCOME),
    outcomes: fields.symbols(FIELD.OUTCOMES, "outcomes"),
  };
}

export function readTarget(value: Value): Target {
  const fields = fieldsOf(value, TERMINUS.TARGET, "target");
  return {
    ...common(value, fields, "target"),
    capabilities: fields.symbols(FIELD.TARGET_CAPABILITIES, "capabilities"),
  };
}

export const isCoordinator = (value: Value): boolean =>
  value.type === "described" && descriptorNumber(value.descriptor) === TERMINUS.COORDINATOR;

function common(value: Value, fields: Fields, name: string): Omit<Terminus, "capabilities"> {
  const address = fields.get(FIELD.ADDRESS);
  if (address !== undefined && address.type !== "string") {
    throw invalid(`${name}.address is not a string.`);
  }
  const durable = fields.number(FIELD.DURABLE, "durable", "uint") ?? 0;
  if (durable > 2) throw invalid(`${name}.durable is not 0, 1 or 2.`);
  const expiry = fields.text(FIELD.EXPIRY, "expiry-policy") ?? "session-end";
  if (!EXPIRY_POLICIES.includes(expiry)) {
    throw invalid(`${name}.expiry-policy is not one of ${EXPIRY_POLICIES.join(", ")}.`);
  }
  fields.number(FIELD.TIMEOUT, "timeout", "uint");
  const isDynamic = fields.boolean(FIELD.DYNAMIC, "dynamic") ?? false;
  if (isDynamic && address !== undefined) {
    throw invalid(`${name}.address must be empty when ${name}.dynamic is true.`);
  }
  return {
    value,
    address: address?.value,
    durable,
    expiry,
    isDynamic,
    dynamicProperties: fields.map(FIELD.DYNAMIC_PROPERTIES, "dynamic-node-properties"),
  };
}

function fieldsOf(value: Value, descriptor: number, name: string): Fields {
  if (value.type !== "described" || descriptorNumber(value.descriptor) !== descriptor) {
    throw new LinkError(
      CONDITION.NOT_IMPLEMENTED,
      `The ${name} is of a type that is not known here.`,
    );
  }
  return new Fields(name, value.value);
}

/** When a temporary node goes. */
export function lifetimeOf(properties: Value | undefined): TemporaryLifetime {
  const policy = mapGet(properties, "lifetime-policy");
  if (policy?.type !== "described") return "delete-on-close";
  switch (descriptorNumber(policy.descriptor)) {
    case LIFETIME.DELETE_ON_NO_LINKS:
      return "delete-on-no-links";
    case LIFETIME.DELETE_ON_NO_MESSAGES:
      return "delete-on-no-messages";
    case LIFETIME.DELETE_ON_NO_LINKS_OR_MESSAGES:
      return "delete-on-no-links-or-messages";
    default:
      return "delete-on-close";
  }
}

export interface SourceChanges {
  readonly address?: string;
  /** Filters that apply; undefined: none. */
  readonly filter: Value | undefined;
  readonly capabilities: readonly string[];
  readonly isCopy?: boolean;
}

/** The peer's source as we honour it. */
export function amendSource(source: Source, changes: SourceChanges): Value {
  const fields = rawFields(source.value, 11);
  if (changes.address !== undefined) fields[FIELD.ADDRESS] = string(changes.address);
  fields[FIELD.FILTER] = changes.filter ?? NULL;
  if (isNull(fields[FIELD.OUTCOMES])) fields[FIELD.OUTCOMES] = symbols(OUTCOMES);
  fields[FIELD.SOURCE_CAPABILITIES] =
    changes.capabilities.length > 0 ? symbols(changes.capabilities) : NULL;
  return composite(TERMINUS.SOURCE, fields);
}

export function amendTarget(target: Target, address: string): Value {
  const fields = rawFields(target.value, 7);
  fields[FIELD.ADDRESS] = string(address);
  return composite(TERMINUS.TARGET, fields);
}

const OUTCOMES = [
  "amqp:accepted:list",
  "amqp:rejected:list",
  "amqp:released:list",
  "amqp:modified:list",
];

function rawFields(value: Value, count: number): Value[] {
  const list = value.type === "described" && value.value.type === "list" ? value.value.value : [];
  return Array.from({ length: Math.max(count, list.length) }, (_, index) => list[index] ?? NULL);
}

const isNull = (value: Value | undefined): boolean => value === undefined || value.type === "null";

export const invalid = (description: string): LinkError =>
  new LinkError(CONDITION.INVALID_FIELD, description);
