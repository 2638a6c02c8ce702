import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import test, { type ExecutionContext } from "ava";
import { EXAMPLES } from "../../src/cli/examples.ts";
import { run } from "../../src/cli/run.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { SILENT } from "../support/built-store.ts";
import { SluiceProcess } from "../support/process.ts";
import { recordFields } from "../support/record-fields.ts";
import { sayFrames } from "../support/stomp-socket.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { until } from "../support/wait.ts";

/** A command as the executable runs it, in this process unless it reads standard input. Tests here are serial. */
async function sluice(args: string[], input = "") {
  if (input !== "") {
    const process = new SluiceProcess(args, { input });
    const code = await process.exit;
    return { code, out: process.stdout, error: process.stderr };
  }
  const texts = { stdout: "", stderr: "" };
  const originals = { stdout: process.stdout.write, stderr: process.stderr.write };
  for (const name of ["stdout", "stderr"] as const) {
    process[name].write = (chunk: string | Uint8Array) => {
      texts[name] += chunk;
      return true;
    };
  }
  try {
    const code = await run(args);
    return { code, out: texts.stdout, error: texts.stderr };
  } finally {
    process.stdout.write = originals.stdout;
    process.stderr.write = originals.stderr;
  }
}

const MAIN = join(import.meta.dirname, "../../src/main.js");

/** A store with so many messages of 200 bytes. */
async function storeOf(directory: string, count: number): Promise<void> {
  const store = new CommitLogStore({ directory, segmentBytes: 1 << 22, minFreeBytes: 0 });
  await store.open(SILENT);
  const queue = store.queue("T", 0);
  for (let i = 0; i < count; i++) {
    while (!store.hasRoom(1000)) await new Promise((resolve) => setTimeout(resolve, 1));
    store.append(queue, recordFields({ body: Buffer.alloc(200, i) }));
    if (i % 100 === 99) store.publish(false);
  }
  await store.close();
}

async function running(t: ExecutionContext, data: string, ...args: string[]) {
  const small = ["--set", "store.segmentBytes=1MiB"];
  const broker = new SluiceProcess(["serve", "--port", "0", "--data", data, ...small, ...args]);
  t.teardown(() => broker.child.kill("SIGKILL"));
  await broker.ready();
  return broker;
}

test.serial("a running broker can be looked at from its data directory", async (t) => {
  const data = temporaryFolder(t);
  const broker = await running(t, data);
  const status = await sluice(["status", "--data", data]);
  t.is(status.code, 0, status.error);
  t.regex(status.out, /^store +ok$/m);
  const json = await sluice(["status", "--json", "--data", data]);
  t.is(JSON.parse(json.out).node, "sluice");
  const top = await sluice(["top", "--once", "--interval", "0.2", "--data", data]);
  t.regex(top.out, /^0 connections, 0 consumers/);
  const browse = await sluice(["browse", "orders", "--data", data]);
  t.is(browse.code, 1);
  t.regex(browse.error, /no queue "orders"/);
  const byUrl = await sluice(["queues", "--url", `http://127.0.0.1:${broker.port()}`]);
  t.is(byUrl.code, 0, byUrl.error);
  const hello = "SEND\ndestination:/queue/orders\nkeys:k1\nreceipt:r\n\nhello\0";
  await sayFrames(broker.port(), hello, /RECEIPT/);
  const locked = await sluice(["store", "check", "--data", data]);
  t.is(locked.code, 3);
  for (const query of [[], ["--offset", "0"], ["--key", "k1"]]) {
    const found = await sluice(["browse", "orders", ...query, "--data", data]);
    t.regex(found.out, /^offset 0 in shard 0, 5 bytes .*ready\n[\s\S]*\n {2}hello\n$/, found.error);
  }
  broker.child.kill("SIGTERM");
  t.is(await broker.exit, 0);
  t.false(existsSync(join(data, "admin.json")));
  const check = await sluice(["store", "check", "--data", data]);
  t.is(check.code, 0, check.error + check.out);
  t.regex(check.out, /sound: 1 records/);
  // It writes to the file itself.
  const exported = await sluice(["store", "export", "--data", data], "\n");
  const [message] = exported.out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  t.is(Buffer.from(message.body, "base64").toString(), "hello");
  t.is((await sluice(["store", "repair", "--data", data])).code, 0);
  const gone = await sluice(["status", "--data", data]);
  t.is(gone.code, 1);
  t.regex(gone.error, /no broker runs on/);
});

test.serial(
  "browsing says where the messages of a level of a topic are, and when there are none",
  async (t) => {
    const data = temporaryFolder(t);
    const broker = await running(t, data);
    const news = "SEND\ndestination:/topic/news.eu\nreceipt:r\n\nhello\0";
    await sayFrames(
      broker.port(),
      `SUBSCRIBE\nid:1\ndestination:/topic/news.eu\n\n\0${news}`,
      /RECEIPT/,
    );
    const level = await sluice(["browse", "topic:news.eu", "--data", data]);
    t.regex(
      level.error,
      /no topic "news.eu": its messages are in the topic of its first level, "news"/,
    );
    const nothing = await sluice(["browse", "topic:news", "--data", data]);
    t.is(nothing.code, 0);
    t.regex(nothing.error, /no message in topic:news; --settled shows/);
    broker.child.kill("SIGTERM");
    t.is(await broker.exit, 0);
  },
);

test.serial(
  "users are made, listed, granted, revoked and removed, and open the way to other addresses",
  async (t) => {
    const data = temporaryFolder(t);
    const made = await sluice(
      ["user", "add", "ann", "--password-stdin", "--data", data],
      "s3cret\n",
    );
    t.is(made.code, 0, made.error);
    const again = await sluice(["user", "add", "ann", "--generate", "--data", data]);
    t.is(again.code, 2);
    t.regex(again.error, /user "ann" exists/);
    t.is((await sluice(["grant", "ann", "admin *", "--data", data])).code, 0);
    t.is((await sluice(["grant", "ann", "write x", "--data", data])).code, 2);
    t.is((await sluice(["grant", "ann", "send queue:q", "--deny", "--data", data])).code, 0);
    const list = await sluice(["user", "list", "--data", data]);
    t.regex(
      list.out,
      /^ann +true +create,delete,send,receive,browse,bind \*; admin \*; not send queue:q$/m,
    );
    t.is((await sluice(["revoke", "ann", "send queue:q", "--data", data])).code, 0);
    const broker = await running(t, data, "--set", "listeners.main.host=0.0.0.0");
    const url = `http://127.0.0.1:${broker.port()}/api/overview`;
    t.is((await fetch(url)).status, 401);
    const authorization = `Basic ${Buffer.from("ann:s3cret").toString("base64")}`;
    t.is((await fetch(url, { headers: { authorization } })).status, 200);
    t.is((await sluice(["status", "--data", data])).code, 0);
    t.is((await sluice(["user", "remove", "ann", "--data", data])).code, 0);
    await until("the broker saw it", () =>
      broker.lines.some(({ event, users }) => event === "users.reloaded" && users === 0),
    );
    t.is((await fetch(url, { headers: { authorization } })).status, 401);
  },
);

test.serial(
  "a name that no user can have is refused, and the users file stays readable",
  async (t) => {
    const data = temporaryFolder(t);
    for (const name of ["", " ", "two\nlines", "esc\u001b[31m", "tenant:ann", "x".repeat(256)]) {
      const made = await sluice(["user", "add", name, "--generate", "--data", data]);
      t.is(made.code, 2, JSON.stringify(name));
      t.regex(made.error, /^sluice: user ".*: .*\n$/);
      t.is(made.out, "");
    }
    t.is((await sluice(["grant", "", "send queue:q", "--data", data])).code, 2);
    const long = "x".repeat(255);
    t.is((await sluice(["user", "add", long, "--generate", "--data", data])).code, 0);
    t.is((await sluice(["grant", "CN=ann,O=Acme", "send queue:q", "--data", data])).code, 0);
    const { out } = await sluice(["user", "list", "--json", "--data", data]);
    t.deepEqual(
      JSON.parse(out).map(({ name, hasPassword }: { name: string; hasPassword: boolean }) => [
        name,
        hasPassword,
      ]),
      [
        [long, true],
        ["CN=ann,O=Acme", false],
      ],
    );
    t.notRegex(out, /scrypt/);
  },
);

test.serial("every command explains itself with an example, within 80 columns", async (t) => {
  const pages: string[] = [];
  const visit = async (path: readonly string[]): Promise<void> => {
    const { code, out } = await sluice([...path, "--help"]);
    t.is(code, 0, path.join(" "));
    const wide = out.split("\n").filter((line) => line.length > 80);
    t.deepEqual(wide, [], path.join(" "));
    t.notRegex(out, /default: \[\]/);
    const inner = /^Commands:\n([\s\S]*)/m.exec(out)?.[1];
    if (inner === undefined) {
      pages.push(path.join(" "));
      t.regex(out, new RegExp(`^Example:\\n  sluice ${path.join(" ")}( |$)`, "m"));
      return;
    }
    for (const [, name] of inner.matchAll(/^ {2}(\w+)/gm)) {
      if (name !== "help") await visit([...path, name!]);
    }
  };
  await visit([]);
  t.deepEqual(pages.sort(), Object.keys(EXAMPLES).sort());
  const wrong = await sluice(["browse"]);
  t.is(wrong.code, 2);
  t.regex(wrong.error, /sluice browse --help explains it/);
});

test.serial(
  "what is wrong with a configuration is said before anything runs with it",
  async (t) => {
    const data = temporaryFolder(t);
    const file = join(data, "sluice.toml");
    const check = (text: string) => {
      writeFileSync(file, text);
      return sluice(["config", "check", "--config", file, "--data", data]);
    };
    const good = await check("[limits]\nconnectionsMax = 5\n");
    t.is(good.code, 0, good.error);
    t.regex(good.out, /^good: data in .*, 0 users, TLS off\n {2}main +localhost:5672 +amqp mqtt/);
    for (const [text, words] of [
      ["[limits]\nconnectionMax = 5\n", /sluice\.toml:2: .*did you mean .*connectionsMax/],
      ['[listeners.main]\nhost = "0.0.0.0"\n', /no user exists yet/],
      ['[tls]\ncertificate = "none.pem"\nkey = "none.pem"\n', /none\.pem/],
      ['[tokens]\nallow = ["fly queue:x"]\n', /tokens\.allow: .*"fly" is no action/],
    ] as const) {
      const wrong = await check(text);
      t.is(wrong.code, 2, text);
      t.regex(wrong.error, words);
    }
  },
);

test.serial("what cannot be an address or a number is one sentence", async (t) => {
  for (const args of [
    ["status", "--url", "nowhere"],
    ["top", "--interval", "soon", "--url", "http://127.0.0.1:9"],
    ["queues", "--max", "0", "--url", "http://127.0.0.1:9"],
  ]) {
    const wrong = await sluice(args);
    t.is(wrong.code, 2, args.join(" "));
    t.regex(wrong.error, /^sluice: .*expected .*\n$/);
  }
});

test.serial(
  "lists end where nobody would read on, and say so; as JSON they are whole",
  async (t) => {
    const data = temporaryFolder(t);
    const broker = await running(t, data);
    let frames = "";
    for (let i = 0; i < 1200; i++) frames += `SEND\ndestination:/queue/many.${i}\n\nx\0`;
    frames += "SEND\ndestination:/queue/last\nreceipt:all\n\nx\0";
    await sayFrames(broker.port(), frames, /receipt-id:all/);
    const some = await sluice(["queues", "--data", data]);
    t.is(some.out.trimEnd().split("\n").length, 1001);
    t.regex(some.error, /the first 1000 queues; more with --max/);
    const named = await sluice(["queues", "--name", "many.119", "--data", data]);
    t.is(named.out.trimEnd().split("\n").length, 12);
    t.is(named.error, "");
    const all = new SluiceProcess(["queues", "--json", "--data", data]);
    t.is(await all.exit, 0);
    t.is(JSON.parse(all.stdout).length, 1201);
  },
);

test.serial(
  "a store that is not there is exit 3, a damaged one exit 1 and names the file",
  async (t) => {
    const data = temporaryFolder(t);
    const none = await sluice(["store", "check", "--data", data]);
    t.is(none.code, 3);
    t.regex(none.error, /^sluice: .*no folder commitlog/);
    const broker = await running(t, data);
    broker.child.kill("SIGTERM");
    await broker.exit;
    const [queue] = readdirSync(join(data, "journal"));
    writeFileSync(join(data, "journal", queue!), Buffer.alloc(5000, 1));
    const damaged = await sluice(["store", "check", "--json", "--data", data]);
    t.is(damaged.code, 1, damaged.out);
    t.is(JSON.parse(damaged.out).state, "damaged");
  },
);

test.serial(
  "an export into a pipe is complete, however slowly it is read, and ends quietly when nobody reads on",
  async (t) => {
    const data = temporaryFolder(t);
    await storeOf(data, 3000);
    const sh = (command: string) =>
      promisify(execFile)("bash", ["-c", command], { env: { ...process.env, MAIN, DATA: data } });
    const run = `"${process.execPath}" "$MAIN" store export --data "$DATA"`;
    const slow = await sh(`${run} | (sleep 1; wc -l)`);
    t.is(slow.stdout.trim(), "3000");
    t.regex(slow.stderr, /^3000 messages; left out: 0 damaged ranges/m);
    const left = await sh(`${run} | head -n 1 | wc -l`);
    t.is(left.stdout.trim(), "1");
    t.notRegex(left.stderr, /EPIPE|Error|at /);
  },
);

test.serial("certificates are made that a listener works with", async (t) => {
  const folder = temporaryFolder(t);
  const out = join(folder, "tls");
  t.is((await sluice(["tls", "create", "--out", out, "localhost"])).code, 0);
  t.is((await sluice(["tls", "client", "ann", "--out", out])).code, 0);
  t.regex(readFileSync(join(out, "ann.pem"), "utf8"), /BEGIN CERTIFICATE/);
  t.is((await sluice(["tls", "client", "bob", "--out", out])).code, 0);
  const revoked = await sluice(["tls", "revoke", "ann", "--out", out]);
  t.is(revoked.code, 0);
  t.regex(revoked.out, /revoked\.pem revokes 1;/);
  t.regex((await sluice(["tls", "revoke", "bob", "--out", out])).out, /revokes 2;/);
  t.is((await sluice(["tls", "revoke", "ann", "--out", out])).code, 2, "it is none any more");
  t.is((await sluice(["tls", "client", "ann", "--out", folder])).code, 2);
  const broker = await running(
    t,
    join(folder, "data"),
    "--set",
    `tls.certificate=${join(out, "server.pem")}`,
    "--set",
    `tls.key=${join(out, "server-key.pem")}`,
    "--set",
    "listeners.main.tls=required",
  );
  const tls = await import("node:tls");
  const socket = tls.connect({
    port: broker.port(),
    host: "127.0.0.1",
    servername: "localhost",
    ca: readFileSync(join(out, "ca.pem")),
  });
  let answer = "";
  socket.on("data", (chunk) => (answer += chunk));
  socket.on("error", () => {});
  socket.write("CONNECT\naccept-version:1.2\nhost:localhost\n\n\0");
  await until("connected over TLS", () => answer.startsWith("CONNECTED") || socket.destroyed);
  t.regex(answer, /^CONNECTED/);
  socket.destroy();
});

test.serial("a certificate that cannot be used is exit 2", async (t) => {
  const run = await sluice([
    "serve",
    "--port",
    "0",
    "--data",
    temporaryFolder(t),
    "--set",
    "tls.certificate=/nowhere",
  ]);
  t.is(run.code, 2);
  t.regex(run.error, /^sluice: tls\.certificate: \/nowhere cannot be read/);
});

test.serial("the version is the package's", async (t) => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8"));
  t.is((await sluice(["--version"])).out.trim(), version);
  t.is((await sluice(["frobnicate"])).code, 2);
});

test.serial("delayed messages are listed and taken back, also over a restart", async (t) => {
  const data = temporaryFolder(t);
  const broker = await running(t, data);
  let frames = "";
  for (const [queue, delay] of [
    ["a", "7200000"],
    ["a", "3600000"],
    ["b", "946080000000"],
  ]) {
    frames += `SEND\ndestination:/queue/${queue}\nAMQ_SCHEDULED_DELAY:${delay}\n\nx\0`;
  }
  frames += "SEND\ndestination:/queue/a\nreceipt:r\n\nnow\0";
  await sayFrames(broker.port(), frames, /RECEIPT/);
  const list = await sluice(["delayed", "list", "--data", data]);
  t.regex(
    list.out,
    /^1 .*queue:a[\s\S]*^0 .*queue:a[\s\S]*^2 .*queue:b[\s\S]*3 waiting in all/m,
    list.error,
  );
  const cancel = await sluice(["delayed", "cancel", "0", "--data", data]);
  t.is(cancel.out, "1 messages taken back\n", cancel.error);
  broker.child.kill("SIGKILL");
  await broker.exit;
  await running(t, data);
  const json = JSON.parse((await sluice(["delayed", "list", "--json", "--data", data])).out);
  t.deepEqual(
    json.map((m: { name: string }) => m.name),
    ["a", "b"],
  );
  t.is(
    (await sluice(["delayed", "cancel", "queue:b", "--data", data])).out,
    "1 messages taken back\n",
  );
  const nothing = await sluice(["delayed", "cancel", "--data", data]);
  t.is(nothing.code, 2);
  t.regex(nothing.error, /name a number, a queue/);
  t.is((await sluice(["delayed", "cancel", "7", "--data", data])).code, 1);
});
