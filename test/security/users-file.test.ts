import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { makeUser, UsersFile } from "../../src/security/users-file.ts";
import { SILENT } from "../../src/telemetry/log.ts";

function temporary(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), "sluice-users-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return join(folder, "users.toml");
}

test("users read back as they were written, only for their owner's eyes", async (t) => {
  const path = temporary(t);
  const file = new UsersFile(path);
  t.is(file.size, 0);
  const ann = await makeUser(
    "ann",
    "pw",
    ["send,receive queue:orders", "* topic:news/#"],
    ["* dlq:#"],
  );
  file.put(ann);
  const again = new UsersFile(path);
  t.deepEqual(again.find("ann"), ann);
  t.is(statSync(path).mode & 0o777, 0o600);
  t.false(readFileSync(path, "utf8").includes('"pw"'));
  t.true(again.remove("ann"));
  t.false(again.remove("ann"));
  t.is(new UsersFile(path).size, 0);
});

test("a change by another process is seen, a broken one leaves what was", async (t) => {
  const path = temporary(t);
  const running = new UsersFile(path);
  new UsersFile(path).put(await makeUser("ann", "pw", ["send queue:a"]));
  t.is(running.size, 0);
  running.refresh(SILENT);
  t.is(running.size, 1);
  const { generation } = running;
  running.refresh(SILENT);
  t.is(running.generation, generation);
  writeFileSync(path, "[[user]]\nname = ");
  running.refresh(SILENT);
  t.is(running.find("ann")?.name, "ann");
});

test("a file that cannot be used is one sentence with its name", (t) => {
  const path = temporary(t);
  for (const [content, expected] of [
    ["[[user]]\n", /users\.toml: a \[\[user\]\] without a name/],
    ["[[user]]\nname = 'a'\nalow = []", /users\.toml: user "a": unknown key "alow"/],
    ["[[user]]\nname = 'a'\nallow = ['go x']", /user "a": rule "go x": "go" is no action/],
    ["[[user]]\nname = 'a'\n[[user]]\nname = 'a'", /user "a" is there twice/],
    ["[[user]]\nname = 'a'\nscram = ['x']", /not a SCRAM verifier/],
    ["x = ", /users\.toml: cannot be read/],
  ] as const) {
    writeFileSync(path, content);
    t.throws(() => new UsersFile(path), { message: expected });
  }
});
