import { readFileSync } from "node:fs";
import test from "ava";
import { ACCESS_TABLE, accessTable, REFUSE_NOTHING } from "../../interop/harness/access-table.ts";
import { ACCESS_ROWS } from "../../interop/steps/access.ts";
import { BOUNDS } from "../../interop/steps/access-bounds.ts";
import { TAKEN_ROWS } from "../../interop/steps/access-taken.ts";
import { configSections } from "../../src/config/keys.ts";
import { ACTIONS } from "../../src/security/authorizer.ts";

const SECTIONS = [
  "limits",
  "quotas",
  "amqp",
  "mqtt",
  "stomp",
  "security",
  "tokens",
  "tls",
  "listeners.*",
];
/** Rights that no protocol here asks for yet, or that are part of another. */
const UNUSED_ACTIONS = ["bind", "delete"];

test("every key that bounds or admits somebody is in the table of refusals", (t) => {
  const keys = configSections()
    .filter(({ path }) => SECTIONS.includes(path))
    .flatMap(({ path, keys }) => keys.map((key) => fullName(path, key.path)));
  const told = new Set([...ACCESS_TABLE.flatMap((row) => row.keys ?? []), ...REFUSE_NOTHING]);
  t.deepEqual(
    keys.filter((key) => !told.has(key)),
    [],
    "keys that nothing is said of",
  );
  const all = new Set(
    configSections().flatMap(({ path, keys }) => keys.map((key) => fullName(path, key.path))),
  );
  t.deepEqual(
    [...told].filter((key) => !all.has(key)),
    [],
    "keys that are none",
  );
});

const fullName = (section: string, key: string): string =>
  key.startsWith(`${section}.`) ? key : `${section}.${key}`;

test("every right that is asked for is in the table of refusals", (t) => {
  const text = ACCESS_TABLE.map(({ what }) => what).join(" ");
  const missing = ACTIONS.filter(
    (action) => !UNUSED_ACTIONS.includes(action) && !text.includes(`\`${action}\``),
  );
  t.deepEqual(missing, []);
});

test("each refusal is tried where the table says", (t) => {
  const rows = new Set([...ACCESS_ROWS, ...BOUNDS.map(({ name }) => name), ...TAKEN_ROWS]);
  for (const { what, tried } of ACCESS_TABLE) {
    t.true(tried.length > 0, what);
    for (const where of tried) {
      if (typeof where === "string") t.true(rows.has(where), `${what}: no row "${where}"`);
      else t.true(readFileSync(where.file, "utf8").includes(`"${where.title}"`), where.title);
    }
  }
});

test("docs/security.md has the table as it is", (t) => {
  const page = readFileSync("docs/security.md", "utf8");
  t.true(page.includes(accessTable()), `docs/security.md should have:\n\n${accessTable()}`);
});
