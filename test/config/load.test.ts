import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { ConfigError, type ConfigSources, loadConfig } from "../../src/config/load.ts";

function withFile(t: ExecutionContext, content: string): string {
  const folder = mkdtempSync(join(tmpdir(), "sluice-config-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "sluice.toml");
  writeFileSync(file, content);
  return file;
}

function problems(sources: ConfigSources): string[] {
  try {
    loadConfig(sources);
  } catch (error) {
    if (error instanceof ConfigError) {
      return error.message.split("\n").map((line) => line.replace(/^.*sluice\.toml/, "FILE"));
    }
    throw error;
  }
  return [];
}

test("without anything, the standard listeners are on loopback and confirms wait for the disk", (t) => {
  const config = loadConfig();
  t.deepEqual(
    Object.values(config.listeners).map((listener) => [listener.host, listener.port]),
    [5672, 1883, 61613, 15672, 15675, 15674].map((port) => ["localhost", port]),
  );
  t.is(config.store.durability, "fsync");
  t.is(config.queues.maxDeliveries, 10);
});

test("file, environment and flags add up key by key, the later wins", (t) => {
  const file = withFile(
    t,
    `data = "/var/a"
nodeName = "one"
[listeners.mqtt]
port = 1884
[store]
segmentBytes = "256MiB"
[limits]
handshakeTimeout = "3s"
connectionsMax = 5
`,
  );
  const config = loadConfig({
    file,
    environment: { SLUICE_LIMITS_CONNECTIONS_MAX: "6", SLUICE_NODE_NAME: "12", PATH: "/bin" },
    settings: ["limits.connectionsMax=7", "security.trustedProxies=10.0.0.0/8, ::1"],
    data: "/var/b",
  });
  t.is(config.data, "/var/b");
  t.is(config.nodeName, "12");
  t.deepEqual(config.listeners["mqtt"]?.protocols, ["mqtt"]);
  t.is(config.listeners["mqtt"]?.port, 1884);
  t.is(config.store.segmentBytes, 256 * 2 ** 20);
  t.is(config.limits.handshakeTimeout, 3000);
  t.is(config.limits.connectionsMax, 7);
  t.deepEqual(config.security.trustedProxies, ["10.0.0.0/8", "::1"]);
});

test("--port opens just the one sniffed port", (t) => {
  const config = loadConfig({ port: "7000", environment: { SLUICE_LISTENERS_MQTT_PORT: "9" } });
  t.deepEqual(Object.keys(config.listeners), ["main"]);
  t.is(config.listeners["main"]?.port, 7000);
  t.deepEqual(config.listeners["main"]?.protocols, ["amqp", "mqtt", "stomp", "http"]);
  t.deepEqual(problems({ port: "77777" }), ["--port 77777: expected a number up to 65535"]);
});

test("an unknown key names the nearest known one, with file and line", (t) => {
  const file = withFile(
    t,
    `# comment
data = "x"

[limits]
conectionsMax = 5

[listeners.mqtt]
prot = 1884
[listeners.other]
port = 1
handshakeTimeout = "1s"
[store]
banana = 1
`,
  );
  t.deepEqual(problems({ file }), [
    `FILE:8: unknown key "listeners.mqtt.prot", did you mean "listeners.mqtt.port"?`,
    `FILE:11: unknown key "listeners.other.handshakeTimeout", did you mean "limits.handshakeTimeout"?`,
    `FILE:13: unknown key "store.banana" (docs/configuration.md lists them all)`,
    `FILE:5: unknown key "limits.conectionsMax", did you mean "limits.connectionsMax"?`,
  ]);
});

test("a wrong value says where it stands and what was expected", (t) => {
  const file = withFile(
    t,
    `store.segmentBytes = "1 MB"
listeners = { main = { port = "x" } }
[log]
level = "verbose"
text = """
[limits]
a = 1
"""
[limits]
connectionsMax = 0
`,
  );
  t.deepEqual(problems({ file }), [
    "FILE:2: listeners.main.port: expected number, not string",
    `FILE:1: store.segmentBytes: expected bytes, or text such as "64MiB", not "1 MB"`,
    "FILE:10: limits.connectionsMax: expected at least 1",
    `FILE:4: log.level: expected one of "debug", "info", "warn", "error"`,
    `FILE:5: unknown key "log.text" (docs/configuration.md lists them all)`,
  ]);
});

test("variables and flags are checked like the file", (t) => {
  t.deepEqual(
    problems({
      environment: { SLUICE_LIMIT_CONNECTIONS_MAX: "1", SLUICE_LOG_LEVEL: "x", SLUICE_CONFIG: "f" },
      settings: ["store.ringBytes=3", "nonsense"],
    }),
    [
      `unknown variable "SLUICE_LIMIT_CONNECTIONS_MAX", did you mean "SLUICE_LIMITS_CONNECTIONS_MAX"?`,
      "--set nonsense: expected key=value",
      "--set store.ringBytes: store.ringBytes: expected at least 1MiB, not 3",
      `SLUICE_LOG_LEVEL: log.level: expected one of "debug", "info", "warn", "error"`,
    ],
  );
});

test("a slip in a listener's name does not open a port", (t) => {
  const file = withFile(t, "[listeners.mqt]\nhost = '::1'\n");
  t.deepEqual(problems({ file }), [
    `FILE:1: listeners.mqt: a new listener needs a port or a path (or is "listeners.mqtt" meant?)`,
  ]);
});

test("broken TOML and a missing file are one sentence each", (t) => {
  const file = withFile(t, "a = 1\nb = = 2\n");
  t.regex(problems({ file })[0]!, /^FILE:2: not valid TOML: /);
  t.regex(
    problems({ file: "/nowhere/x.toml" })[0]!,
    /^\/nowhere\/x\.toml: cannot be read \(ENOENT\)/,
  );
});
