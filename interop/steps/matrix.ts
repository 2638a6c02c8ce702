/** Every producing client × every consuming client, of every protocol, for each way to address a message. */
import type { Endpoint } from "../harness/broker-process.ts";
import { equal } from "../harness/expect.ts";
import { type Route, runMatrix } from "../harness/matrix.ts";
import { MosquittoParticipant, mosquittoClients } from "../harness/mosquitto.ts";
import { MqttParticipant } from "../harness/mqtt-participant.ts";
import { type Participant, type Protocol, WorkerParticipant } from "../harness/participant.ts";
import { RheaParticipant } from "../harness/rhea-participant.ts";
import type { Step, StepContext } from "../harness/step.ts";
import { StompParticipant } from "../harness/stomp-participant.ts";
import { Stompit } from "../harness/stompit-client.ts";
import { Stompjs } from "../harness/stompjs-client.ts";
import type { Setup } from "../harness/toolchain.ts";
import { goAmqpProgram } from "./go-amqp.ts";
import { PAHO_PYTHON_CLIENT, pahoJava, pahoPython } from "./paho.ts";
import { PROTON_CLIENT, protonPython } from "./proton.ts";
import { JVM_FLAGS, jms1Program, jms2Program } from "./qpid-jms.ts";

const NEEDS: readonly Setup[] = [
  protonPython,
  goAmqpProgram,
  jms1Program,
  jms2Program,
  pahoPython,
  pahoJava,
  mosquittoClients,
];

/** Starts every client; JVMs take a second, so all start at once and answer when they are up. */
function startParticipants(endpoint: Endpoint): Participant[] {
  const where = [endpoint.host, String(endpoint.port), endpoint.user, endpoint.password];
  const amqp = (name: string, command: string, args: readonly string[]): Participant =>
    new WorkerParticipant({
      name,
      protocol: "amqp10",
      command,
      args: [...args, "worker", ...where],
    });
  const mqtt = (name: string, command: string, args: readonly string[]): Participant =>
    new WorkerParticipant({
      name,
      protocol: "mqtt",
      command,
      args: [...args, "worker", "5", ...where],
    });
  const java = (classPath: string): string[] => [...JVM_FLAGS, "-cp", classPath, "Main"];
  return [
    new RheaParticipant("rhea", endpoint, {}),
    new RheaParticipant("rhea (WebSocket)", endpoint, { webSocket: true }),
    amqp("Proton", protonPython.python, [PROTON_CLIENT]),
    amqp("go-amqp", goAmqpProgram.binary, []),
    amqp("Qpid JMS 1", "java", java(jms1Program.classPath)),
    amqp("Qpid JMS 2", "java", java(jms2Program.classPath)),
    new StompParticipant("stompit", () => Stompit.connect(endpoint)),
    new StompParticipant("stompjs (WebSocket)", () =>
      Stompjs.connect(endpoint, { webSocket: true }),
    ),
    new MqttParticipant("MQTT.js 3.1.1", endpoint, { version: 4 }),
    new MqttParticipant("MQTT.js 5 (WebSocket)", endpoint, { version: 5, webSocket: true }),
    mqtt("Paho Python", pahoPython.python, [PAHO_PYTHON_CLIENT]),
    mqtt("Paho Java", "java", java(pahoJava.classPath)),
    new MosquittoParticipant(endpoint),
  ];
}

/** MQTT separates levels with `/` where the others write `.`. */
const levels = (protocol: Protocol, ...names: string[]): string =>
  names.join(protocol === "mqtt" ? "/" : ".");

/** Queues have no spelling in MQTT. */
const QUEUE: Route = {
  title: "queue",
  send: (protocol, pair) =>
    protocol === "mqtt" ? undefined : { address: `matrix.queue.${pair}`, kind: "queue" },
  receive: (protocol, pair) =>
    protocol === "mqtt" ? undefined : { address: `matrix.queue.${pair}`, kind: "queue" },
};

const TOPIC: Route = {
  title: "topic",
  send: (protocol, pair) => ({ address: levels(protocol, "matrix-t", pair), kind: "topic" }),
  receive: (protocol, pair) => ({ address: levels(protocol, "matrix-t", pair), kind: "topic" }),
};

/** The root's first level is the topic, the rest is its tag: `?tag=` and a path mean the same message. */
const TAG: Route = {
  title: "tag",
  send: (protocol, pair) => ({ address: levels(protocol, `tagged-${pair}`, "red"), kind: "topic" }),
  receive: (protocol, pair) =>
    protocol === "mqtt"
      ? { address: `tagged-${pair}/red`, kind: "topic" }
      : { address: `tagged-${pair}?tag=red||blue`, kind: "topic" },
};

const WILDCARD: Route = {
  title: "wildcard",
  send: (protocol, pair) => ({ address: levels(protocol, "wild", pair, "x", "y"), kind: "topic" }),
  receive: (protocol, pair) => ({
    address: levels(protocol, "wild", pair, protocol === "mqtt" ? "+" : "*", "#"),
    kind: "topic",
  }),
};

const GROUP: Route = {
  title: "group",
  isShared: true,
  send: (protocol, pair) => ({ address: levels(protocol, "matrix-g", pair), kind: "topic" }),
  receive: (protocol, pair) =>
    protocol === "mqtt"
      ? { address: `$share/g-${pair}/matrix-g/${pair}`, kind: "topic" }
      : { address: `matrix-g.${pair}`, kind: "topic", group: `g-${pair}` },
};

/** All producers at once on one queue, all consumers at once on it: each text arrives once, somewhere. */
async function allOnOneQueue(
  context: StepContext,
  participants: readonly Participant[],
): Promise<void> {
  const each = 20;
  await context.check("all at once", "all at once", async () => {
    const where = { address: "matrix.all", kind: "queue" } as const;
    const intakes = await Promise.all(participants.map((participant) => participant.open(where)));
    const sent = participants.map((participant) =>
      Array.from({ length: each }, (_, index) => `${participant.name} ${index}`),
    );
    await Promise.all(
      participants.map((participant, at) => participant.send(where, sent[at] ?? [])),
    );
    const got: string[] = [];
    const total = participants.length * each;
    for (let quiet = 0; got.length < total && quiet < 10; quiet++) {
      const some = await Promise.all(intakes.map((intake) => intake.take(each, 500)));
      if (some.flat().length > 0) quiet = 0;
      got.push(...some.flat());
    }
    equal(got.sort().join("\n"), sent.flat().sort().join("\n"), "texts over all consumers");
    for (const intake of intakes) await intake.close();
  });
}

function matrixStep(route: Route): Step {
  return {
    name: `matrix-${route.title}`,
    about: `every producer × every consumer: ${route.title}`,
    table: `Producer (row) × consumer (column): ${route.title}`,
    limitSeconds: 240,
    needs: NEEDS,
    async run(context) {
      const participants = startParticipants(await context.broker());
      try {
        await runMatrix(context, route, participants);
        const speakQueue = participants.filter(({ protocol }) => protocol !== "mqtt");
        if (route === QUEUE) await allOnOneQueue(context, speakQueue);
      } finally {
        for (const participant of participants) await participant.close();
      }
    },
  };
}

export const matrixSteps: readonly Step[] = [QUEUE, TOPIC, TAG, WILDCARD, GROUP].map(matrixStep);
