import { fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import test from "ava";
import { CommitLogStore, StoreOpenError } from "../../src/store/commit-log-store.ts";
import { StoreLock } from "../../src/store/store-lock.ts";
import { SILENT } from "../support/built-store.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

test("a store that is open cannot be opened again, and says by whom it is held", async (t) => {
  const directory = temporaryFolder(t);
  const first = new CommitLogStore({ directory, segmentBytes: 1 << 20 });
  await first.open(SILENT);
  t.is(readFileSync(join(directory, "lock"), "latin1"), `${process.pid}\n`);
  const second = new CommitLogStore({ directory, segmentBytes: 1 << 20 });
  const error = await t.throwsAsync(second.open(SILENT), { instanceOf: StoreOpenError });
  t.regex(error!.message, new RegExp(`in use by process ${process.pid}`));
  t.true(existsSync(join(directory, "abort")));
  await first.close();
  t.false(existsSync(join(directory, "abort")));
  t.false(existsSync(join(directory, "lock")));
  await t.notThrowsAsync(second.open(SILENT));
  await second.close();
});

test("a dead process holds nothing", async (t) => {
  const directory = temporaryFolder(t);
  const script = join(directory, "holder.mjs");
  const module = new URL("../../src/store/store-lock.js", import.meta.url).href;
  writeFileSync(
    script,
    `const { StoreLock } = await import(${JSON.stringify(module)});
     await new StoreLock(${JSON.stringify(directory)}).acquire();
     process.send("held");
     setInterval(() => {}, 1000);`,
  );
  const child = fork(script);
  await once(child, "message");
  const lock = new StoreLock(directory);
  await t.throwsAsync(lock.acquire(), {
    message: new RegExp(`in use by process ${child.pid}`),
  });
  child.kill("SIGKILL");
  await once(child, "exit");
  t.true(existsSync(join(directory, "lock.socket")), "it could not clean up");
  await t.notThrowsAsync(lock.acquire());
  lock.release();
});

test("a folder with a very long path is locked as well", async (t) => {
  const directory = join(temporaryFolder(t), "x".repeat(120), "y".repeat(100));
  mkdirSync(directory, { recursive: true });
  const first = new StoreLock(directory);
  await first.acquire();
  await t.throwsAsync(new StoreLock(directory).acquire(), { instanceOf: StoreOpenError });
  first.release();
  const second = new StoreLock(directory);
  await t.notThrowsAsync(second.acquire());
  second.release();
});

test("a holder of the socket that says nothing about itself is respected", async (t) => {
  const directory = temporaryFolder(t);
  const server = createServer().listen(join(directory, "lock.socket"));
  await once(server, "listening");
  await t.throwsAsync(new StoreLock(directory).acquire(), { message: /in use by another process/ });
  server.close();
});
