import { chmodSync, writeFileSync } from "node:fs";
import * as net from "node:net";
import { join } from "node:path";
import test from "ava";
import { SluiceProcess } from "../support/process.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { until } from "../support/wait.ts";

function serve(...args: string[]): SluiceProcess {
  return new SluiceProcess(["serve", ...args]);
}

test.serial(
  "serve --port opens one port, says ready and the next step, and leaves cleanly on SIGTERM",
  async (t) => {
    const broker = serve("--port", "0", "--data", temporaryFolder(t));
    await broker.ready();
    const events = broker.lines.map(({ event }) => event);
    t.deepEqual(events, ["store.opened", "listener.ready", "ready"]);
    t.regex(String(broker.lines.at(-1)?.["message"]), /^try: /);
    const client = net.connect(broker.port(), "127.0.0.1");
    client.on("error", () => {});
    const greeting = "CONNECT\naccept-version:1.2\nhost:localhost\n\n\0";
    let answer = "";
    client.on("data", (chunk) => (answer += chunk));
    client.write(greeting);
    await until("connected", () => answer.startsWith("CONNECTED"));
    const began = Date.now();
    broker.child.kill("SIGTERM");
    t.is(await broker.exit, 0);
    t.true(Date.now() - began < 5000);
    t.is(broker.stderr, "");
  },
);

test.serial("a stop takes less than five seconds whatever the peers do", async (t) => {
  const broker = serve("--port", "0", "--data", temporaryFolder(t));
  await broker.ready();
  const peer = (hello: string) => {
    const socket = net.connect(broker.port(), "127.0.0.1");
    socket.on("error", () => {});
    socket.write(hello, "latin1");
    return socket;
  };
  // Nobody of these ever reads or closes: silent, half a header, logged in over each protocol, HTTP, WebSocket.
  const sockets = [
    peer(""),
    peer("AMQP"),
    peer("CONNECT\naccept-version:1.2\nhost:localhost\n\n\0"),
    peer("\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a"),
    peer("AMQP\0\x01\0\0\0\0\0\x14\x02\0\0\0\0\x53\x10\xc0\x07\x02\xa1\x01a\xa1\x01b"),
    peer("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    peer(
      "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
    ),
  ];
  await until("the broker has answered those it answers", () =>
    sockets.slice(2).every((socket) => socket.bytesRead > 0 || socket.readableLength > 0),
  );
  const began = Date.now();
  broker.child.kill("SIGTERM");
  t.is(await broker.exit, 0);
  t.true(Date.now() - began < 5000, `${Date.now() - began} ms`);
  for (const socket of sockets) socket.destroy();
});

test.serial("a bad configuration is exit 2 and says where", async (t) => {
  const file = join(temporaryFolder(t), "sluice.toml");
  writeFileSync(file, "[limits]\nconectionsMax = 3\n");
  const broker = serve("--config", file);
  t.is(await broker.exit, 2);
  t.is(
    broker.stderr,
    `sluice: ${file}:2: unknown key "limits.conectionsMax", did you mean "limits.connectionsMax"?\n`,
  );
  const flag = serve("--set", "a.b=1");
  t.is(await flag.exit, 2);
  t.regex(flag.stderr, /^sluice: --set a\.b: unknown key "a"/);
  t.is(await serve("--unheard-of").exit, 2);
});

test.serial("an address that others can reach is exit 2 until a user exists", async (t) => {
  const data = temporaryFolder(t);
  const broker = serve("--port", "0", "--data", data, "--set", "listeners.main.host=0.0.0.0");
  t.is(await broker.exit, 2);
  t.regex(broker.stderr, /other machines can reach 0\.0\.0\.0.*sluice user add NAME/);
});

test.serial("a data directory that cannot be used is exit 3", async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, "file");
  writeFileSync(file, "");
  const broker = serve("--port", "0", "--data", join(file, "data"));
  t.is(await broker.exit, 3);
  t.regex(broker.stderr, /^sluice: data directory .*file\/data: it is not a directory/);
  if (process.getuid?.() === 0) return;
  chmodSync(folder, 0o500);
  t.is(await serve("--port", "0", "--data", join(folder, "x")).exit, 3);
  chmodSync(folder, 0o700);
});

test.serial("a data directory that another broker uses is exit 3", async (t) => {
  const data = temporaryFolder(t);
  const first = serve("--port", "0", "--data", data);
  await first.ready();
  const second = serve("--port", "0", "--data", data);
  t.is(await second.exit, 3);
  t.regex(second.stderr, /^sluice: data directory .*: /);
  t.is(second.stderr.trim().split("\n").length, 1);
  first.child.kill("SIGTERM");
  t.is(await first.exit, 0);
});

test.serial("a port in use is exit 4 and names the key", async (t) => {
  const other = net.createServer().listen(0, "127.0.0.1");
  await until("listening", () => other.listening);
  const { port } = other.address() as net.AddressInfo;
  const broker = serve("--port", String(port), "--data", temporaryFolder(t));
  t.is(await broker.exit, 4);
  t.is(
    broker.stderr,
    `sluice: listener main, localhost:${port}: the port is in use by another process (set listeners.main.port, or stop the other one)\n`,
  );
  other.close();
});
