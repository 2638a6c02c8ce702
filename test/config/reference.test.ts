import { readFileSync } from "node:fs";
import test from "ava";
import { configReference } from "../../src/config/reference.ts";

test("docs/configuration.md is what the schema says (see its comment for the command)", (t) => {
  t.is(readFileSync("docs/configuration.md", "utf8"), configReference());
});
