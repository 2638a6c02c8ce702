import test from "ava";
import { formatTable } from "../../src/cli/table.ts";

const HEAD = ["name", "waiting", "client id"];

test("texts are to the left, numbers to the right, and nothing in them moves the cursor", (t) => {
  t.is(
    formatTable(HEAD, [
      ["a", 5, "x\u001b[31m"],
      ["longer", 12, null],
    ]),
    "name    waiting  client id\na             5  x\u00b7[31m\nlonger       12  -\n",
  );
});

test("as wide as the terminal: the longest texts are cut, numbers never", (t) => {
  const row = ["n".repeat(100), 123_456, "c".repeat(40)];
  for (const width of [40, 60, 80]) {
    const lines = formatTable(HEAD, [row], width).trimEnd().split("\n");
    for (const line of lines) t.true(line.length <= width, `${width}: ${line}`);
    t.regex(lines[1]!, /^n+… +123456 {2}c+…$/);
  }
  const [, narrow] = formatTable(HEAD, [row], 10).split("\n");
  t.regex(narrow!, /^n{7}… +123456 {2}c{7}…$/);
});

test("in a pipe a text is as long as it is, but for those that nobody reads to the end", (t) => {
  const [, line] = formatTable(["name"], [["n".repeat(60_000)]], Infinity).split("\n");
  t.is(line!.length, 255);
  const rows = Array.from({ length: 200_000 }, (_, i) => [`queue-${i}`]);
  t.is(formatTable(["name"], rows, Infinity).split("\n").length, 200_002);
});
