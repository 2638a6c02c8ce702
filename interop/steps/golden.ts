/**
 * The golden cases (docs/protocol-mapping.md) between AMQP 1.0, STOMP and MQTT, both directions, each with a real client on
 * either side: Qpid JMS, stompit, MQTT.js. The numbers are those of that page; what rhea and stompit say to each other in
 * detail is in golden-stomp.ts.
 */
import type { Endpoint } from "../harness/broker-process.ts";
import { equal, truly } from "../harness/expect.ts";
import { expectGoldenText } from "../harness/golden-text.ts";
import { MqttPeer } from "../harness/mqtt-peer.ts";
import { WorkerParticipant } from "../harness/participant.ts";
import { RheaPeer } from "../harness/rhea-peer.ts";
import type { Step } from "../harness/step.ts";
import { Stompit } from "../harness/stompit-client.ts";
import { JVM_FLAGS, jms2Program } from "./qpid-jms.ts";

interface Clients {
  readonly jms: WorkerParticipant;
  readonly stomp: Stompit;
  readonly mqtt: MqttPeer;
  /** MQTT 3.1.1. */
  readonly mqtt3: MqttPeer;
  readonly endpoint: Endpoint;
}
type Golden = (clients: Clients) => Promise<unknown>;
type Fields = Readonly<Record<string, string>>;

const QUEUE = { kind: "queue" };
const TOPIC = { kind: "topic" };
const MAP_JSON = '{"i":1,"l":{"$l":"2"},"b":{"$b":"AQ=="},"s":"x"}';
const RAW = Buffer.from([0, 0xff, 0x31, 0x2e, 0x35]);
let handles = 0;

/** What Qpid JMS says of the message that `send` makes the broker deliver to it. */
async function asJms(
  { jms }: Clients,
  where: { readonly address: string; readonly kind: string },
  send: () => Promise<unknown>,
): Promise<Fields> {
  const handle = `golden-${++handles}`;
  await jms.ask({ op: "open", handle, ...where, group: "" });
  await send();
  const answer = await jms.ask({ op: "describe", handle, limit: "10000" });
  await jms.ask({ op: "close", handle });
  return Object.fromEntries(answer);
}

const produce = (
  { jms }: Clients,
  kind: "text" | "bytes" | "map",
  where: { readonly address: string; readonly kind: string },
  reply = "",
): Promise<unknown> => jms.ask({ op: "produce", class: kind, ...where, reply });

function goldenFields(fields: Fields): void {
  equal(fields["class"], "text");
  equal(fields["text"], "hé");
  equal(fields["type"], "T");
  equal(fields["correlation"], "c1");
  equal(fields["priority"], "7");
  equal(fields["persistent"], "true");
  const left = Number(fields["left"]);
  truly(left > 1000 && left <= 6000, `expires in about 5 s: ${left}`);
}

/** With a shared user property name the values are an array. */
const userProperty = (
  properties: { readonly userProperties?: unknown } | undefined,
  name: string,
): unknown => (properties?.userProperties as Record<string, unknown> | undefined)?.[name];

const JMS_AND_STOMP: Readonly<Record<string, Golden>> = {
  "2: JMS TextMessage → STOMP": async (clients) => {
    const inbox = await clients.stomp.subscribe("/queue/golden.two");
    await produce(clients, "text", { address: "golden.two", ...QUEUE });
    expectGoldenText(await inbox.next(), "/queue/golden.two");
  },

  "2, back: STOMP → JMS TextMessage": async (clients) => {
    const fields = await asJms(clients, { address: "golden.two.back", ...QUEUE }, () =>
      clients.stomp.send("/queue/golden.two.back", "hé", {
        a: "1",
        b: "true",
        type: "T",
        "correlation-id": "c1",
        priority: "7",
        persistent: "true",
        expires: String(Date.now() + 5000),
        "content-type": "text/plain",
      }),
    );
    goldenFields(fields);
    // STOMP has text only.
    equal(fields["property.a"], "String 1");
    equal(fields["property.b"], "String true");
  },

  "8: STOMP without content-length → JMS TextMessage": async (clients) => {
    const fields = await asJms(clients, { address: "golden.eight", ...QUEUE }, () =>
      clients.stomp.send("/queue/golden.eight", "hé"),
    );
    equal(fields["class"], "text");
    equal(fields["text"], "hé");
  },

  "8: STOMP with content-length → JMS BytesMessage": async (clients) => {
    const fields = await asJms(clients, { address: "golden.eight.b", ...QUEUE }, () =>
      clients.stomp.send("/queue/golden.eight.b", RAW, { "content-length": String(RAW.length) }),
    );
    equal(fields["class"], "bytes");
    equal(fields["hex"], RAW.toString("hex"));
  },

  "8, back: JMS BytesMessage → STOMP": async (clients) => {
    const inbox = await clients.stomp.subscribe("/queue/golden.eight.back");
    await produce(clients, "bytes", { address: "golden.eight.back", ...QUEUE });
    const { body, headers } = await inbox.next();
    equal(body.toString("hex"), RAW.toString("hex"));
    equal(Number(headers["content-length"]), RAW.length);
  },

  "9: JMS MapMessage → STOMP, and a MapMessage again": async (clients) => {
    const inbox = await clients.stomp.subscribe("/queue/golden.nine");
    await produce(clients, "map", { address: "golden.nine", ...QUEUE });
    const { body, headers } = await inbox.next();
    equal(sortedJson(body.toString()), sortedJson(MAP_JSON));
    const fields = await asJms(clients, { address: "golden.nine.back", ...QUEUE }, () =>
      clients.stomp.send("/queue/golden.nine.back", body, {
        transformation: headers["transformation"] ?? "",
        "content-type": "application/json",
      }),
    );
    mapFields(fields);
  },

  "12: rejected over JMS's protocol → dead letter over STOMP": async ({ endpoint, stomp }) => {
    const amqp = await RheaPeer.connect(endpoint);
    const sender = await amqp.sender("golden.twelve");
    await sender.deliver({ body: "bad", durable: true });
    const { delivery } = await (await amqp.receiver("golden.twelve")).next();
    const dead = await stomp.subscribe("/queue/DLQ.golden.twelve");
    delivery.reject();
    const { body, headers } = await dead.next();
    equal(body.toString(), "bad");
    equal(headers["x-death-count"], "1");
    equal(headers["x-first-death-queue"], "golden.twelve");
    equal(headers["x-first-death-reason"], "rejected");
    await amqp.close();
  },
};

const JMS_AND_MQTT: Readonly<Record<string, Golden>> = {
  "3: JMS TextMessage → MQTT 5": async (clients) => {
    const { mqtt } = clients;
    await mqtt.subscribe("golden/three");
    await produce(clients, "text", { address: "golden.three", ...TOPIC });
    const { payload, qos, properties } = await mqtt.next();
    equal(payload.toString(), "hé");
    equal(qos, 1);
    equal(Boolean(properties?.payloadFormatIndicator), true, "payload format indicator");
    truly((properties?.messageExpiryInterval ?? 0) >= 4, "expires in 5 s");
    truly((properties?.messageExpiryInterval ?? 0) <= 5, "expires in 5 s");
    equal(userProperty(properties, "a"), "1");
    equal(userProperty(properties, "b"), "true");
    equal(properties?.correlationData?.toString(), "c1");
  },

  "3, back: MQTT 5 → JMS TextMessage": async (clients) => {
    const fields = await asJms(clients, { address: "golden.three.back", ...TOPIC }, () =>
      clients.mqtt.publish("golden/three/back", "hé", {
        qos: 1,
        properties: {
          payloadFormatIndicator: true,
          messageExpiryInterval: 5,
          correlationData: Buffer.from("c1"),
          userProperties: { a: "1", b: "true", "x-priority": "7", "x-type": "T" },
        },
      }),
    );
    goldenFields({ ...fields, type: "T" });
    equal(fields["property.a"], "String 1");
    equal(fields["property.b"], "String true");
  },

  "5: MQTT 3.1.1 → JMS BytesMessage": async (clients) => {
    const fields = await asJms(clients, { address: "golden.five", ...TOPIC }, () =>
      clients.mqtt3.publish("golden/five", "1.5", { qos: 1 }),
    );
    equal(fields["class"], "bytes");
    equal(fields["hex"], Buffer.from("1.5").toString("hex"));
    equal(fields["persistent"], "true");
  },

  "5, back: JMS BytesMessage → MQTT 3.1.1": async (clients) => {
    await clients.mqtt3.subscribe("golden/five/back");
    await produce(clients, "bytes", { address: "golden.five.back", ...TOPIC });
    const { payload, qos } = await clients.mqtt3.next();
    equal((payload as Buffer).toString("hex"), RAW.toString("hex"));
    equal(qos, 1);
  },

  "6: MQTT 5 asks, JMS answers": async (clients) => {
    const { mqtt, jms } = clients;
    await mqtt.subscribe("golden/reply/1");
    const fields = await asJms(clients, { address: "golden.six", ...TOPIC }, () =>
      mqtt.publish("golden/six", "?", {
        qos: 1,
        properties: {
          responseTopic: "golden/reply/1",
          correlationData: Buffer.from([1, 2]),
        },
      }),
    );
    equal(fields["replyTo"], "topic golden.reply.1");
    equal(fields["correlation"], "ID:AMQP_BINARY:0102");
    await jms.ask({ op: "reply", text: "!" });
    const { payload, properties } = await mqtt.next();
    equal(payload.toString(), "!");
    equal(properties?.correlationData?.toString("hex"), "0102");
  },

  "6, back: JMS asks, MQTT 5 answers": async (clients) => {
    const { mqtt } = clients;
    await mqtt.subscribe("golden/six/back");
    const fields = await asJms(clients, { address: "golden.reply.2", ...TOPIC }, async () => {
      await produce(clients, "text", { address: "golden.six.back", ...TOPIC }, "golden.reply.2");
      const { properties } = await mqtt.next();
      equal(properties?.responseTopic, "golden/reply/2");
      const { correlationData } = properties ?? {};
      await mqtt.publish("golden/reply/2", "!", {
        qos: 1,
        properties: { payloadFormatIndicator: true, correlationData: correlationData! },
      });
    });
    equal(fields["text"], "!");
    equal(fields["correlation"], "c1");
  },

  "9: JMS MapMessage → MQTT 5, and a MapMessage again": async (clients) => {
    const { mqtt } = clients;
    await mqtt.subscribe("golden/nine");
    await produce(clients, "map", { address: "golden.nine", ...TOPIC });
    const { payload, properties } = await mqtt.next();
    equal(sortedJson(payload.toString()), sortedJson(MAP_JSON));
    equal(properties?.contentType, "application/json");
    equal(userProperty(properties, "x-body-kind"), "map");
    const fields = await asJms(clients, { address: "golden.nine.back", ...TOPIC }, () =>
      mqtt.publish("golden/nine/back", payload as Buffer, {
        qos: 1,
        properties: {
          contentType: "application/json",
          userProperties: { "x-body-kind": "map" },
        },
      }),
    );
    mapFields(fields);
  },
};

const STOMP_AND_MQTT: Readonly<Record<string, Golden>> = {
  "STOMP → MQTT 5: text, fields and headers": async ({ stomp, mqtt }) => {
    await mqtt.subscribe("golden/stomp/one");
    await stomp.send("/topic/golden.stomp.one", "hé", {
      "content-type": "text/plain",
      "correlation-id": "c1",
      "reply-to": "/topic/golden.answers",
      persistent: "true",
      expires: String(Date.now() + 5000),
      color: "red",
    });
    const { payload, qos, properties } = await mqtt.next();
    equal(payload.toString(), "hé");
    equal(qos, 1);
    equal(properties?.contentType, "text/plain");
    equal(Boolean(properties?.payloadFormatIndicator), true, "payload format indicator");
    equal(properties?.correlationData?.toString(), "c1");
    equal(properties?.responseTopic, "golden/answers");
    truly((properties?.messageExpiryInterval ?? 0) >= 4, "expires in 5 s");
    equal(userProperty(properties, "color"), "red");
  },

  "MQTT 5 → STOMP: text, fields and user properties": async ({ stomp, mqtt }) => {
    const inbox = await stomp.subscribe("/topic/golden.mqtt.one");
    await mqtt.publish("golden/mqtt/one", "hé", {
      qos: 1,
      properties: {
        payloadFormatIndicator: true,
        contentType: "text/plain",
        responseTopic: "golden/answers",
        correlationData: Buffer.from("c1"),
        messageExpiryInterval: 5,
        userProperties: { color: "red" },
      },
    });
    const { body, headers } = await inbox.next();
    equal(body.toString(), "hé");
    equal(headers["destination"], "/topic/golden.mqtt.one");
    equal(headers["content-type"], "text/plain");
    equal(headers["reply-to"], "/topic/golden.answers");
    equal(headers["correlation-id"], "c1");
    equal(headers["persistent"], "true");
    equal(headers["color"], "red");
    const left = Number(headers["expires"]) - Date.now();
    truly(left > 0 && left <= 5000, `expires within 5 s: ${left}`);
  },

  "bytes survive both ways between STOMP and MQTT": async ({ stomp, mqtt, mqtt3 }) => {
    const bytes = Buffer.from(Array.from({ length: 1024 }, (_, at) => at & 255));
    for (const peer of [mqtt, mqtt3]) {
      const name = peer === mqtt ? "five" : "three";
      await peer.subscribe(`golden/bytes/${name}/s`);
      const length = { "content-length": String(bytes.length) };
      await stomp.send(`/topic/golden.bytes.${name}.s`, bytes, length);
      truly(bytes.equals((await peer.next()).payload as Buffer), "STOMP → MQTT");
      const inbox = await stomp.subscribe(`/topic/golden.bytes.${name}.m`);
      await peer.publish(`golden/bytes/${name}/m`, bytes);
      truly(bytes.equals((await inbox.next()).body), "MQTT → STOMP");
    }
  },

  "STOMP asks, MQTT 5 answers, and the other way round": async ({ stomp, mqtt }) => {
    await mqtt.subscribe("golden/ask/mqtt");
    const answers = await stomp.subscribe("/topic/golden.answer.stomp");
    const headers = { "reply-to": "/topic/golden.answer.stomp", "correlation-id": "7" };
    await stomp.send("/topic/golden.ask.mqtt", "?", headers);
    const { properties } = await mqtt.next();
    const { responseTopic, correlationData } = properties ?? {};
    await mqtt.publish(responseTopic!, "!", {
      qos: 1,
      properties: { correlationData: correlationData! },
    });
    const answer = await answers.next();
    equal(answer.body.toString(), "!");
    equal(answer.headers["correlation-id"], "7");

    const questions = await stomp.subscribe("/topic/golden.ask.stomp");
    await mqtt.subscribe("golden/answer/mqtt");
    await mqtt.publish("golden/ask/stomp", "?", {
      qos: 1,
      properties: { responseTopic: "golden/answer/mqtt", correlationData: Buffer.from([0, 255]) },
    });
    const question = await questions.next();
    const correlation = question.headers["correlation-id"]!;
    await stomp.send(question.headers["reply-to"]!, "!", { "correlation-id": correlation });
    const reply = await mqtt.next();
    equal(reply.payload.toString(), "!");
    equal(reply.properties?.correlationData?.toString("hex"), "00ff");
  },

  "what was published to be kept reaches STOMP as it happens, and MQTT later": async (clients) => {
    const inbox = await clients.stomp.subscribe("/topic/golden.retained");
    await clients.mqtt.publish("golden/retained", "kept", { qos: 1, retain: true });
    equal((await inbox.next()).body.toString(), "kept");
    await clients.mqtt3.subscribe("golden/retained");
    const { payload, retain } = await clients.mqtt3.next();
    equal(payload.toString(), "kept");
    equal(retain, true);
    await clients.mqtt.publish("golden/retained", "", { qos: 1, retain: true });
  },
};

function mapFields(fields: Fields): void {
  equal(fields["class"], "map");
  equal(fields["map.i"], "Integer 1");
  equal(fields["map.l"], "Long 2");
  equal(fields["map.b"], "byte[] 01");
  equal(fields["map.s"], "String x");
}

/** The order of a JMS map's entries is nobody's promise. */
const sortedJson = (text: string): string =>
  JSON.stringify(Object.entries(JSON.parse(text) as object).sort(([a], [b]) => (a < b ? -1 : 1)));

const GROUPS = [
  ["Qpid JMS ↔ stompit", JMS_AND_STOMP],
  ["Qpid JMS ↔ MQTT.js", JMS_AND_MQTT],
  ["stompit ↔ MQTT.js", STOMP_AND_MQTT],
] as const;

export const goldenStep: Step = {
  name: "golden",
  about: "the golden cases between JMS over AMQP 1.0, STOMP and MQTT, both ways",
  table: "Golden cases between protocols",
  limitSeconds: 180,
  needs: [jms2Program],
  async run(context) {
    const endpoint = await context.broker();
    const { host, port, user, password } = endpoint;
    const where = [host, String(port), user, password];
    const args = [...JVM_FLAGS, "-cp", jms2Program.classPath, "Main", "worker", ...where];
    const jms = new WorkerParticipant({
      name: "Qpid JMS",
      protocol: "amqp10",
      command: "java",
      args,
    });
    try {
      for (const [client, cases] of GROUPS) {
        for (const [name, golden] of Object.entries(cases)) {
          await context.check(client, name, async () => {
            const stomp = await Stompit.connect(endpoint);
            const mqtt = await MqttPeer.connect(endpoint, { version: 5 });
            const mqtt3 = await MqttPeer.connect(endpoint, { version: 4 });
            try {
              await golden({ jms, stomp, mqtt, mqtt3, endpoint });
            } finally {
              stomp.drop();
              await mqtt.end();
              await mqtt3.end();
            }
          });
        }
      }
    } finally {
      await jms.close();
    }
  },
};
