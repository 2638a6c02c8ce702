/** Flags of the benchmarks: `--help` prints how they are used; what is none of them is one sentence and exit 2. */
import { parseArgs } from "node:util";

type Options = Record<
  string,
  { type: "string" | "boolean"; multiple?: boolean; default?: string | boolean | string[] }
>;
type Values<O extends Options> = ReturnType<typeof parseArgs<{ options: O }>>["values"];

/** What a value has to be, as a pattern and in words. */
export interface Check {
  readonly pattern: RegExp;
  readonly expected: string;
}

/** Prints the usage, or what is wrong with the flags, and ends the process; or returns them. */
export function argumentsOf<const O extends Options>(
  usage: string,
  options: O,
  checks: Readonly<Record<string, Check>> = {},
): Values<O> {
  const help = { type: "boolean", default: false } as const;
  try {
    const { values } = parseArgs({ options: { ...options, help } });
    const given = values as Readonly<Record<string, unknown>>;
    if (given["help"] === true) {
      process.stdout.write(usage);
      process.exit(0);
    }
    for (const [name, { pattern, expected }] of Object.entries(checks)) {
      const value = given[name];
      if (value === undefined || pattern.test(String(value))) continue;
      throw new Error(`--${name} ${String(value)}: expected ${expected}`);
    }
    return values as Values<O>;
  } catch (error) {
    const [sentence] = (error as Error).message.split(". ");
    process.stderr.write(`${sentence}\n\n${usage}`);
    process.exit(2);
  }
}

export const COUNT: Check = {
  pattern: /^\d+[kM]?$/,
  expected: "a whole number, as 5000, 20k or 10M",
};
export const WHOLE: Check = { pattern: /^\d+$/, expected: "a whole number" };
export const NUMBER: Check = { pattern: /^\d+(\.\d+)?$/, expected: "a number, as 2 or 0.5" };
export const NAME: Check = {
  pattern: /^[\w.-]+$/,
  expected: "a name of letters, digits, ., _ and -",
};
