import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import test, { type ExecutionContext } from "ava";
import mqtt, { type IConnackPacket } from "mqtt";
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
      "store.segmentBytes=2MiB",
      "nodeName=other",
      "tls.certificate=/a",
      "tls.key=/b",
    ],
  });
  const { config, changed, restart } = planReload(before, after, false);
  t.deepEqual(changed, ["queues.maxLength"]);
  t.deepEqual(restart.toSorted(), ["nodeName", "store.segmentBytes", "tls.certificate", "tls.key"]);
  t.is(config.queues.maxLength, 7);
  t.is(config.store.segmentBytes, before.store.segmentBytes);
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

/** A broker that follows `write` and says what it did. */
async function following(t: ExecutionContext, text: string) {
  const data = temporaryFolder(t);
  const file = temporaryFile(t, "sluice.toml", text);
  const broker = new SluiceProcess(["serve", "--data", data, "--config", file]);
  t.teardown(() => broker.child.kill("SIGKILL"));
  await broker.ready();
  let rounds = 0;
  const change = async (next: string, event = "config.reloaded") => {
    writeFileSync(file, next);
    broker.child.kill("SIGHUP");
    const seen = () => broker.lines.filter((line) => line.event === event);
    const wanted = event === "config.reloaded" ? ++rounds : 1;
    await until(event, () => seen().length >= wanted, 20_000);
    return String(seen().at(-1)!["message"]);
  };
  return { broker, data, change };
}

/** The six that are there by themselves would want their ports. */
const ONLY = (text: string): string =>
  `${["main", "mqtt", "stomp", "http", "mqttws", "stompws"]
    .filter((name) => !text.includes(`[listeners.${name}]`))
    .map((name) => `[listeners.${name}]\nenabled = false\n`)
    .join("")}${text}`;

const greets = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });

test.serial(
  "listeners come, move and go while the broker runs; who is connected stays",
  async (t) => {
    const { broker, data, change } = await following(t, ONLY("[listeners.main]\nport = 0\n"));
    const main = broker.port();
    const peer = connect(main, "127.0.0.1");
    peer.write("CONNECT\naccept-version:1.2\nhost:/\n\n\0");
    await once(peer, "data");
    // One more, and the first where it is.
    t.regex(
      await change(ONLY("[listeners.main]\nport = 0\n[listeners.extra]\nport = 0\n")),
      /^in force: listeners\.extra$/,
    );
    const extra = broker.port("extra");
    t.true(await greets(extra));
    t.true(await greets(main));
    // The first moves, to a port that is known: connections to the old one stay.
    const free = createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const { port } = free.address() as AddressInfo;
    await new Promise((resolve) => free.close(resolve));
    await change(ONLY(`[listeners.main]\nport = ${port}\n`));
    t.true(await greets(port));
    t.false(await greets(main));
    t.false(await greets(extra));
    peer.write("SEND\ndestination:/queue/q\nreceipt:1\n\nx\0");
    const [answer] = (await once(peer, "data")) as [Buffer];
    t.regex(answer.toString(), /RECEIPT/);
    peer.destroy();
    // The command line finds the broker where it is now.
    const command = new SluiceProcess(["reload", "--data", data]);
    t.is(await command.exit, 0, command.stderr);
    t.is(command.stdout, "nothing changed\n");
    // The same port on another address, and back.
    await change(ONLY(`[listeners.main]\nhost = "127.0.0.1"\nport = ${port}\n`));
    t.true(await greets(port));
    // A port that somebody else has changes nothing.
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    t.teardown(() => taken.close());
    const theirs = (taken.address() as AddressInfo).port;
    const message = await change(
      ONLY(`[listeners.main]\nport = ${theirs}\n[queues]\nmaxLength = 3\n`),
      "config.refused",
    );
    t.regex(message, /the port is in use .* stays in force/);
    t.true(await greets(port));
    const config = (await (await fetch(`http://127.0.0.1:${port}/api/config`)).json()) as Config;
    t.is(config.queues.maxLength, 0);
    t.is(config.listeners["main"]!.port, port);
  },
);

test.serial(
  "settings of MQTT and STOMP hold for those who come, and bounds of sessions for all; the rest is named",
  async (t) => {
    const listen = ONLY("[listeners.main]\nport = 0\n");
    const { broker, change } = await following(t, listen);
    const port = broker.port();
    const said = await change(
      `${listen}[mqtt]\nreceiveMaximum = 7\ntopicAliasMax = 3\n[stomp]\nheartbeatSend = "77s"\n[store]\nminFreeBytes = "2MiB"\nringBytes = "32MiB"\n[limits]\nhandshakeTimeout = "3s"\n`,
    );
    t.is(
      said,
      "in force: store.minFreeBytes, limits.handshakeTimeout, mqtt.receiveMaximum, mqtt.topicAliasMax, stomp.heartbeatSend; after a restart: store.ringBytes",
    );
    const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, { protocolVersion: 5 });
    const connack = await new Promise<IConnackPacket>((resolve) => client.once("connect", resolve));
    t.like(connack.properties, { receiveMaximum: 7, topicAliasMaximum: 3 });
    await client.endAsync();
    const peer = connect(port, "127.0.0.1");
    peer.write("CONNECT\naccept-version:1.2\nhost:/\nheart-beat:0,100000\n\n\0");
    const [frame] = (await once(peer, "data")) as [Buffer];
    t.regex(frame.toString(), /heart-beat:77000,/);
    peer.destroy();
  },
);
