#!/usr/bin/env node
/** The executable: arguments in, exit code out. The only file that ends the process. */
import { bundledStart } from "./cli/bundle.ts";

const bundle = bundledStart(import.meta.url);
const { start }: typeof import("./cli/start.ts") =
  bundle === undefined ? await import("./cli/start.ts") : await import(bundle);
process.exit(await start(process.argv.slice(2)));
