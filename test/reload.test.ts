import { writeFileSync } from "node:fs";
import test from "ava";
import { changedKeys } from "../src/config/diff.ts";
import { loadConfig } from "../src/config/load.ts";
import type { Config } from "../src/config/schema.ts";
import { planReload, reloadMessage } from "../src/reload.ts";
import { SluiceProcess } from "./support/process.ts";
import { temporaryFile, temporaryFolder } from "./support/temporary-folder.ts";
import { until } from "./support/wait.ts";

test("keys that differ are named once, lists as a whole", (t) => {
  const before = loadConfig({ settings: ["limits.connectionsMax=5"] });
  t.deepEqual(changedKeys(before, before), []);
  const after = loadConfig({ settings: ["limits.connectionsMax=6", "log.level=debug"] });
  t.deepEqual(changedKeys(before, after), ["limits.connectionsMax", "log.level"]);
});

test("what cannot take effect stays as it was in what is in force", (t) => {
  const before = loadConfig();
  const after = loadConfig({
    settings: [
      "queues.maxLength=7",
      "store.durability=os",
      "nodeName=other",
      "tls.certificate=/a",
      "tls.key=/b",
    ],
  });
  const { config, changed, restart } = planReload(before, after, false);
  t.deepEqual(changed, ["queues.maxLength"]);
  t.deepEqual(restart.toSorted(), ["nodeName", "store.durability", "tls.certificate", "tls.key"]);
  t.is(config.queues.maxLength, 7);
  t.is(config.store.durability, "fsync");
  t.is(before.queues.maxLength, 0, "the old one is untouched");
  t.true(planReload(before, after, true).changed.includes("tls.key"));
  t.regex(
    reloadMessage({ changed, restart, destinations: 3 }),
    /^in force: queues\.maxLength \(3 /,
  );
  t.is(reloadMessage({ changed: [], restart: [], destinations: 0 }), "nothing changed");
});

test.serial(
  "a running broker follows its file, SIGHUP and `sluice reload`; a wrong file changes nothing and says why",
  async (t) => {
    const data = temporaryFolder(t);
    const file = temporaryFile(t, "sluice.toml", "[queues]\nmaxLength = 5\n");
    const broker = new SluiceProcess(["serve", "--port", "0", "--data", data, "--config", file]);
    t.teardown(() => broker.child.kill("SIGKILL"));
    await broker.ready();
    const url = `http://127.0.0.1:${broker.port()}`;
    const config = async () => (await (await fetch(`${url}/api/config`)).json()) as Config;
    const events = (event: string) => broker.lines.filter((line) => line.event === event);
    // An editor's save: seen within a few seconds, by itself.
    writeFileSync(file, "[queues]\nmaxLength = 6\n[log]\nlevel = 'debug'\n");
    await until("the file is followed", () => events("config.reloaded").length === 1, 20_000);
    t.is(events("config.reloaded")[0]!["changed"], "queues.maxLength log.level");
    t.is((await config()).queues.maxLength, 6);
    writeFileSync(file, "[queues]\nmaxLenght = 7\n");
    broker.child.kill("SIGHUP");
    await until("it is refused", () => events("config.refused").length >= 1, 20_000);
    t.regex(
      String(events("config.refused")[0]!["message"]),
      /sluice\.toml:2: unknown key "queues\.maxLenght", did you mean "queues\.maxLength"\?.* stays in force/,
    );
    t.is((await config()).queues.maxLength, 6);
    writeFileSync(file, "nodeName = 'b'\n[queues]\nmaxLength = 8\n");
    broker.child.kill("SIGHUP");
    await until("the good one", () => events("config.reloaded").length >= 2, 20_000);
    t.like(events("config.reloaded")[1], { level: "warn", restart: "nodeName" });
    t.is((await config()).queues.maxLength, 8);
    t.is((await config()).nodeName, "sluice");
    const answer = await fetch(`${url}/api/reload`, {
      method: "POST",
      headers: { "content-type": "application/json" },
    });
    t.deepEqual(await answer.json(), { changed: [], restart: ["nodeName"], destinations: 0 });
    const command = new SluiceProcess(["reload", "--data", data]);
    t.is(await command.exit, 0, command.stderr);
    t.is(command.stdout, "after a restart: nodeName\n");
    writeFileSync(file, "[[quotas]]\nuser = 'a'\nmessages = 4\n");
    const wrong = new SluiceProcess(["reload", "--data", data]);
    t.is(await wrong.exit, 1);
    t.regex(wrong.stderr, /quotas\.0\.messages: a namespace has such a quota, a user has not/);
    broker.child.kill("SIGTERM");
    t.is(await broker.exit, 0);
  },
);
