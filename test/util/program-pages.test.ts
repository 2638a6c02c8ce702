import { readFileSync } from "node:fs";
import test from "ava";
import { loadLibc } from "../../src/util/libc.ts";
import { cleanRanges, programPages } from "../../src/util/program-pages.ts";

const mapping = (head: string, anonymous: number | null, dirty = 0): string =>
  [
    head,
    "Size:               1024 kB",
    "Rss:                 512 kB",
    `Private_Dirty:      ${String(dirty).padStart(5)} kB`,
    ...(anonymous === null ? [] : [`Anonymous:          ${String(anonymous).padStart(5)} kB`]),
    "VmFlags: rd ex mr mw me sd",
    "",
  ].join("\n");

test("only what nobody can have written to is let go of", (t) => {
  const smaps = [
    mapping("00400000-00500000 r--p 00000000 08:01 42                         /opt/node", 0),
    mapping("00500000-00900000 r-xp 00100000 08:01 42                         /opt/node", 0),
    // Relocated, then protected.
    mapping("00900000-00a00000 r--p 00500000 08:01 42                         /opt/node", 8, 8),
    mapping("00a00000-00b00000 r--p 00600000 08:01 42                         /opt/node", 0, 4),
    mapping("00b00000-00c00000 rw-p 00700000 08:01 42                         /opt/node", 0),
    mapping("00c00000-00d00000 r-xs 00700000 08:01 42                         /opt/node", 0),
    // An older kernel does not say it.
    mapping("00d00000-00e00000 r-xp 00700000 08:01 42                         /opt/node", null),
    mapping("00e00000-00f00000 r-xp 00000000 08:01 43                         /lib/opt/node", 0),
    mapping("01000000-01100000 r-xp 00000000 08:01 42                    /opt/node (deleted)", 0),
    mapping("01100000-01200000 r-xp 00000000 00:00 0 ", 0),
    mapping("7f0000000000-7f0000100000 r-xp 00000000 08:01 42                 /opt/node", 0),
  ].join("");
  t.deepEqual(cleanRanges(smaps, "/opt/node"), [
    { start: 0x400000, length: 0x100000 },
    { start: 0x500000, length: 0x400000 },
    { start: 0x7f0000000000, length: 0x100000 },
  ]);
  t.deepEqual(cleanRanges("", "/opt/node"), []);
  t.deepEqual(cleanRanges("00400000-00500000 r-xp 00000000 08:01 42 /opt/node\n", "/opt/node"), []);
});

test("this process goes on without the pages of its program, and has fewer of them", async (t) => {
  const libc = loadLibc();
  if (libc === null) {
    t.pass("elsewhere nothing is done");
    return;
  }
  const mapped = (): number => {
    const status = readFileSync("/proc/self/status", "utf8");
    return Number(/RssFile:\s+(\d+)/.exec(status)![1]);
  };
  const forget = await programPages(libc);
  const before = mapped();
  forget();
  const after = mapped();
  t.true(after < before * 0.75, `${before} KiB before, ${after} after`);
  forget();
  t.is(JSON.stringify(JSON.parse('{"a":[1,"x"]}')), '{"a":[1,"x"]}');
  t.is(new Intl.NumberFormat("en-US").format(1234567), "1,234,567");
});
