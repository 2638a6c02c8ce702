import { Writable } from "node:stream";
import test from "ava";
import { createLogger } from "../../src/telemetry/winston-logger.ts";

function logging(level: "debug" | "info", format: "pretty" | "json") {
  let text = "";
  const stream = new Writable({
    write(chunk, _, done) {
      text += chunk;
      done();
    },
  });
  const logger = createLogger({ level, format, stream });
  return { logger, lines: () => text.split("\n").filter((line) => line !== "") };
}

test("JSON lines carry time, level, event and fields; a child adds its own", (t) => {
  const { logger, lines } = logging("info", "json");
  t.false(logger.isDebug);
  logger.debug("not.seen");
  logger
    .child({ listener: "main" })
    .warn("auth.failed", { user: "ann", tries: 3, nothing: undefined });
  logger.error("store.failed", { error: new Error("disk on fire") });
  const [first, second] = lines().map((line) => JSON.parse(line));
  t.is(lines().length, 2);
  t.like(first, { level: "warn", event: "auth.failed", listener: "main", user: "ann", tries: 3 });
  t.regex(first.time, /^\d{4}-\d\d-\d\dT/);
  t.false("nothing" in first);
  t.like(second, { event: "store.failed", error: "disk on fire" });
  t.regex(second.stack, /log\.test/);
});

test("a long name is cut, an error's text stays under its line", (t) => {
  const name = "n".repeat(60_000);
  const json = logging("info", "json");
  json.logger.info("node.created", { name });
  t.is(JSON.parse(json.lines()[0]!).name, `${"n".repeat(1000)}… (60000 characters)`);
  const pretty = logging("info", "pretty");
  pretty.logger.info("node.created", { name });
  t.true(pretty.lines()[0]!.length < 1100);
  const error = new Error("bad name\n12:00:00.000 info  forged\u2028again\u001b[2J");
  pretty.logger.error("connection.failed", { error });
  const [, first, ...rest] = pretty.lines();
  t.regex(first!, /error connection\.failed$/);
  t.true(rest.length > 3);
  t.true(rest.every((line) => line.startsWith("      ")));
  for (const character of ["\u001b", "\u2028"])
    t.false(pretty.lines().join("").includes(character));
});

test("pretty lines are one line each, whatever a client calls itself", (t) => {
  const { logger, lines } = logging("debug", "pretty");
  t.true(logger.isDebug);
  logger.info("ready", { user: "a\nERROR forged", plain: "x", message: "try: this\u001b[2J" });
  t.is(lines().length, 1);
  t.regex(
    lines()[0]!,
    /info {2}ready user="a\\\\u000aERROR forged" plain=x - try: this\\u001b\[2J$/,
  );
});
