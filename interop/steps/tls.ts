/**
 * TLS with certificates of `sluice tls create`, on the same port as plain text: AMQP, STOMP and MQTT over TLS and over secure
 * WebSocket. Every client trusts the authority it was given and nothing else.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Authority, BrokerProcess, Endpoint } from "../harness/broker-process.ts";
import { CAPABILITIES } from "../harness/capabilities.ts";
import { equal, truly } from "../harness/expect.ts";
import { MosquittoParticipant, mosquittoClients } from "../harness/mosquitto.ts";
import { MqttParticipant } from "../harness/mqtt-participant.ts";
import type { Participant } from "../harness/participant.ts";
import { ROOT, scratchDir } from "../harness/paths.ts";
import { runOrThrow } from "../harness/process.ts";
import { type ReportedProgram, runReported } from "../harness/reported.ts";
import { RheaParticipant } from "../harness/rhea-participant.ts";
import type { Step, StepContext } from "../harness/step.ts";
import { StompParticipant } from "../harness/stomp-participant.ts";
import { Stompit } from "../harness/stompit-client.ts";
import { Stompjs } from "../harness/stompjs-client.ts";
import { PAHO_PYTHON_CLIENT, pahoJava, pahoPython } from "./paho.ts";
import { JVM_FLAGS, jms2Program } from "./qpid-jms.ts";
import { STOMP_CLIENT, stompPython } from "./stomp.ts";

const LARGE = 4 * 1024 * 1024;
const TAKE_LIMIT_MS = 10_000;

interface Kind {
  readonly name: string;
  open(endpoint: Endpoint): Participant;
  /** Bodies are arguments of a command, which may not be long. */
  readonly isSmall?: boolean;
}

const KINDS: readonly Kind[] = [
  { name: "rhea", open: (at) => new RheaParticipant("rhea", at, {}) },
  {
    name: "rhea (WebSocket)",
    open: (at) => new RheaParticipant("rhea", at, { webSocket: true }),
  },
  { name: "stompit", open: (at) => new StompParticipant("stompit", () => Stompit.connect(at)) },
  {
    name: "stompjs (WebSocket)",
    open: (at) => new StompParticipant("stompjs", () => Stompjs.connect(at, { webSocket: true })),
  },
  { name: "MQTT.js 3.1.1", open: (at) => new MqttParticipant("mqttjs", at, { version: 4 }) },
  { name: "MQTT.js 5", open: (at) => new MqttParticipant("mqttjs", at, { version: 5 }) },
  {
    name: "MQTT.js 5 (WebSocket)",
    open: (at) => new MqttParticipant("mqttjs", at, { version: 5, webSocket: true }),
  },
  { name: "mosquitto", open: (at) => new MosquittoParticipant(at), isSmall: true },
];

/** An authority with a certificate for this machine, made as the documentation says. */
async function makeAuthority(dir: string): Promise<Authority> {
  const main = join(ROOT, "dist/src/main.js");
  const create = ["tls", "create", "127.0.0.1", "localhost", "--out", dir];
  await runOrThrow(process.execPath, [main, ...create], { limitMs: 30_000 });
  const file = join(dir, "ca.pem");
  return { file, pem: readFileSync(file, "utf8") };
}

async function roundTrip(kind: Kind, endpoint: Endpoint, texts: readonly string[]): Promise<void> {
  const participant = kind.open(endpoint);
  const topic = `tls-${KINDS.indexOf(kind)}-${texts.length}`;
  try {
    const intake = await participant.open({ address: topic, kind: "topic" });
    await participant.send({ address: topic, kind: "topic" }, texts);
    const got = await intake.take(texts.length, TAKE_LIMIT_MS);
    await intake.close();
    equal(got.join("\n"), texts.join("\n"), "texts");
  } finally {
    await participant.close();
  }
}

async function isRefused(kind: Kind, endpoint: Endpoint): Promise<boolean> {
  const participant = kind.open(endpoint);
  try {
    await (await participant.open({ address: "tls-refused", kind: "topic" })).close();
    return false;
  } catch {
    return true;
  } finally {
    await participant.close();
  }
}

async function javaScriptClients(
  context: StepContext,
  endpoint: Endpoint,
  stranger: Authority,
  strict: Endpoint,
): Promise<void> {
  for (const kind of KINDS) {
    await context.check(kind.name, CAPABILITIES["tls-text"], () =>
      roundTrip(kind, endpoint, ["one", "grüße ✓", "three"]),
    );
    if (kind.isSmall !== true) {
      await context.check(kind.name, CAPABILITIES["tls-large"], () =>
        roundTrip(kind, endpoint, ["0123456789abcdef".repeat(LARGE / 16)]),
      );
    }
    await context.check(kind.name, CAPABILITIES["tls-stranger"], async () =>
      truly(await isRefused(kind, { ...endpoint, tls: stranger }), "the client refuses"),
    );
    await context.check(kind.name, CAPABILITIES["tls-required"], async () => {
      const { tls: _, ...plain } = strict;
      truly(await isRefused(kind, plain), "the broker refuses");
      truly(!(await isRefused(kind, strict)), "with TLS it is taken");
    });
  }
}

/** A key store for Java that holds the authority. */
async function trustStore(authority: Authority, dir: string): Promise<string[]> {
  const file = join(dir, "trust.p12");
  const store = ["-keystore", file, "-storetype", "PKCS12", "-storepass", "secret"];
  const what = ["-importcert", "-noprompt", "-alias", "authority", "-file", authority.file];
  await runOrThrow("keytool", [...what, ...store], { limitMs: 30_000 });
  const property = "-Djavax.net.ssl.trustStore";
  return ["-Dtls=true", `${property}=${file}`, `${property}Password=secret`];
}

async function foreignClients(
  context: StepContext,
  endpoint: Endpoint,
  authority: Authority,
  dir: string,
): Promise<void> {
  const { host, port, user, password } = endpoint;
  const where = [host, String(port), user, password];
  const env = { TLS_CA: authority.file };
  const java = [...JVM_FLAGS, ...(await trustStore(authority, dir)), "-cp"];
  const jms = [...java, jms2Program.classPath, "Main", "cells", ...where];
  const paho = [...java, pahoJava.classPath, "Main", "cells", "5", ...where];
  const python = [PAHO_PYTHON_CLIENT, "cells", "5", ...where];
  const stomp = [STOMP_CLIENT, "cells", ...where, "1.2"];
  const programs: readonly Omit<ReportedProgram, "limitMs" | "env">[] = [
    { client: "Qpid JMS 2.10", command: "java", args: [...jms, "send-receive", "large"] },
    { client: "Paho Java 5", command: "java", args: [...paho, "publish-subscribe", "large"] },
    {
      client: "Paho Python 5",
      command: pahoPython.python,
      args: [...python, "publish-subscribe", "large"],
    },
    {
      client: "stomp.py 1.2",
      command: stompPython.python,
      args: [...stomp, "send-receive", "large"],
    },
  ];
  for (const program of programs) await runReported(context, { ...program, env, limitMs: 60_000 });
}

export const tlsStep: Step = {
  name: "tls",
  about: "AMQP, STOMP and MQTT over TLS and secure WebSocket, beside plain text on one port",
  table: "TLS",
  limitSeconds: 240,
  needs: [mosquittoClients, jms2Program, pahoJava, pahoPython, stompPython],
  ownBrokerOnly: true,
  async run(context) {
    const [dir, elsewhere] = [scratchDir("tls"), scratchDir("tls")];
    try {
      const tls = await makeAuthority(dir);
      const stranger = await makeAuthority(elsewhere);
      const files = { certificate: join(dir, "server.pem"), key: join(dir, "server-key.pem") };
      const set = [
        "--set",
        `tls.certificate=${files.certificate}`,
        "--set",
        `tls.key=${files.key}`,
      ];
      const broker = await context.ownBroker({ args: set });
      const strict = await context.ownBroker({
        args: [...set, "--set", "listeners.main.tls=required"],
      });
      const at = ({ host, port, user, password }: BrokerProcess): Endpoint => ({
        host,
        port,
        user,
        password,
        tls,
      });
      await javaScriptClients(context, at(broker), stranger, at(strict));
      await foreignClients(context, at(broker), tls, dir);
      await context.check("rhea", "plain text on the same port", () =>
        roundTrip(KINDS[0]!, broker, ["plain"]),
      );
    } finally {
      for (const each of [dir, elsewhere]) rmSync(each, { recursive: true, force: true });
    }
  },
};
