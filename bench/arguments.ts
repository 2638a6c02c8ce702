/** Flags of the benchmarks: `--help` prints how they are used; what is none of them is one sentence and exit 2. */
import { parseArgs } from "node:util";

type Options = Record<
  string,
  { type: "string" | "boolean"; multiple?: boolean; default?: string | boolean | string[] }
>;
type Values<O extends Options> = ReturnType<typeof parseArgs<{ options: O }>>["values"];

/** `checks`: values that have to be numbers above zero, or of the words given; the end of the process if not. */
export function argumentsOf<const O extends Options>(
  usage: string,
  options: O,
  checks: Readonly<Record<string, RegExp>> = {},
): Values<O> {
  const help = { type: "boolean", default: false } as const;
  try {
    const { values } = parseArgs({ options: { ...options, help } });
    const given = values as Readonly<Record<string, unknown>>;
    if (given["help"] === true) {
      process.stdout.write(usage);
      process.exit(0);
    }
    for (const [name, pattern] of Object.entries(checks)) {
      const value = given[name];
      if (value === undefined || pattern.test(String(value))) continue;
      throw new Error(`--${name} ${String(value)}: expected ${pattern.source}`);
    }
    return values as Values<O>;
  } catch (error) {
    const [sentence] = (error as Error).message.split(". ");
    process.stderr.write(`${sentence}\n\n${usage}`);
    process.exit(2);
  }
}

export const COUNT = /^\d+[kM]?$/;
export const WHOLE = /^\d+$/;
export const NUMBER = /^\d+(\.\d+)?$/;
export const NAME = /^[\w.-]+$/;
