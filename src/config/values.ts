/** Building blocks of the schema: sizes and durations that may be written with a unit, and how they print. */
import * as z from "zod";

const SIZE = /^(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)?$/;
const SIZE_UNITS: Record<string, number> = {
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};
const TIME = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$/;
const TIME_UNITS: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

export interface Range {
  readonly min?: number;
  readonly max?: number;
}

/** A number of bytes, or text such as "64MiB". */
export const bytes = (fallback: string, description: string, range: Range = {}) =>
  quantity(fallback, description, range, "size", (text) => parse(text, SIZE, SIZE_UNITS, "B"));

/** A number of milliseconds, or text such as "10s". */
export const duration = (fallback: string, description: string, range: Range = {}) =>
  quantity(fallback, description, range, "duration", (text) => parse(text, TIME, TIME_UNITS, "ms"));

function quantity(
  fallback: string,
  description: string,
  { min = 0, max = Number.MAX_SAFE_INTEGER }: Range,
  unit: "size" | "duration",
  read: (text: string) => number | undefined,
) {
  const example = unit === "size" ? `bytes, or text such as "64MiB"` : `ms, or text such as "10s"`;
  return z
    .union([z.number(), z.string()], { error: `expected ${example}` })
    .transform((value, context): number => {
      const number = typeof value === "number" ? value : read(value);
      if (number === undefined || !Number.isSafeInteger(number)) {
        context.addIssue({ code: "custom", message: `expected ${example}, not "${value}"` });
        return z.NEVER;
      }
      if (number < min || number > max) {
        const limit = number < min ? `at least ${print(min, unit)}` : `at most ${print(max, unit)}`;
        context.addIssue({ code: "custom", message: `expected ${limit}, not ${value}` });
        return z.NEVER;
      }
      return number;
    })
    .prefault(fallback)
    .meta({ description, valueType: unit });
}

function parse(
  text: string,
  pattern: RegExp,
  units: Record<string, number>,
  unit: string,
): number | undefined {
  const match = pattern.exec(text.trim());
  if (match === null) return undefined;
  return Math.round(Number(match[1]) * units[match[2] ?? unit]!);
}

function print(value: number, unit: "size" | "duration"): string {
  const units = unit === "size" ? SIZE_UNITS : TIME_UNITS;
  let best = `${value}`;
  for (const [name, factor] of Object.entries(units)) {
    if (value >= factor && value % factor === 0) best = `${value / factor}${name}`;
  }
  return best;
}

export const text = (fallback: string, description: string) =>
  z.string().default(fallback).meta({ description });

export const flag = (fallback: boolean, description: string) =>
  z.boolean().default(fallback).meta({ description });

export const choice = <const T extends readonly [string, ...string[]]>(
  values: T,
  fallback: T[number],
  description: string,
) =>
  z
    .enum(values, { error: `expected one of ${values.map((v) => `"${v}"`).join(", ")}` })
    .default(fallback as never)
    .meta({ description });

export const count = (fallback: number, description: string, { min = 0, max }: Range = {}) => {
  let schema = z.int().min(min, `expected at least ${min}`);
  if (max !== undefined) schema = schema.max(max, `expected at most ${max}`);
  return schema.default(fallback).meta({ description });
};

export const texts = (fallback: string[], description: string) =>
  z.array(z.string()).default(fallback).meta({ description });

/** A row of durations such as "10s 30s 5m", or the name of one. */
export const delays = (names: Readonly<Record<string, string>>, description: string) =>
  z
    .string()
    .transform((value, context): readonly number[] => {
      const words = (names[value] ?? value).split(/\s+/).filter((word) => word !== "");
      const times = words.map((word) => parse(word, TIME, TIME_UNITS, "ms"));
      const wrong = times.findIndex((time) => time === undefined || !Number.isSafeInteger(time));
      if (wrong < 0) return times as number[];
      const known = Object.keys(names).map((name) => `"${name}"`);
      context.addIssue({
        code: "custom",
        message: `expected ${known.join(", ")} or durations such as "10s 30s 5m", not "${value}"`,
      });
      return z.NEVER;
    })
    .prefault("")
    .meta({ description });

/** A queue that clients may use; empty for none. */
export const queueName = (description: string) =>
  z
    .string()
    .refine((name) => !name.startsWith("~"), {
      error: "names of queues that begin with ~ are the broker's own",
    })
    .default("")
    .meta({ description });
