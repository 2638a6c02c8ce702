/** mosquitto_pub and mosquitto_sub, MQTT 3.1.1 and 5. */
import { sleep } from "../harness/broker-process.ts";
import { CAPABILITIES } from "../harness/capabilities.ts";
import { equal } from "../harness/expect.ts";
import { MosquittoSub, mosquittoClients, mosquittoPub } from "../harness/mosquitto.ts";
import type { Step, StepContext } from "../harness/step.ts";

const VERSIONS = [
  ["mqttv311", "3.1.1"],
  ["mqttv5", "5"],
] as const;

async function runChecks(context: StepContext, flag: string, name: string): Promise<void> {
  const endpoint = await context.broker();
  const client = `mosquitto clients ${name}`;
  const version = ["-V", flag];
  const pub = (...args: string[]): Promise<void> => mosquittoPub(endpoint, [...version, ...args]);
  const sub = (args: string[], format?: string): Promise<MosquittoSub> =>
    MosquittoSub.start(endpoint, [...version, ...args], format);

  await context.check(client, CAPABILITIES["publish-subscribe"], async () => {
    const reader = await sub(["-t", `${flag}/+/a`, "-q", "1"], "%t %q %p");
    await pub("-t", `${flag}/x/a`, "-m", "hello ✓", "-q", "1");
    equal((await reader.take(1)).join(), `${flag}/x/a 1 hello ✓`, "message");
    await reader.stop();
  });

  await context.check(client, CAPABILITIES.qos, async () => {
    const reader = await sub(["-t", `${flag}/qos`, "-q", "2"], "%q");
    for (const qos of ["0", "1", "2"]) await pub("-t", `${flag}/qos`, "-m", qos, "-q", qos);
    equal((await reader.take(3)).sort().join(), "0,1,2", "QoS of each");
    await reader.stop();
  });

  await context.check(client, CAPABILITIES.retained, async () => {
    await pub("-t", `${flag}/state`, "-m", "kept", "-r", "-q", "1");
    const reader = await sub(["-t", `${flag}/#`, "-q", "1"], "%r %p");
    equal((await reader.take(1)).join(), "1 kept", "retained");
    await reader.stop();
    await pub("-t", `${flag}/state`, "-n", "-r", "-q", "1");
  });

  await context.check(client, CAPABILITIES.will, async () => {
    const reader = await sub(["-t", `${flag}/will`, "-q", "1"]);
    const will = ["--will-topic", `${flag}/will`, "--will-payload", "lost", "--will-qos", "1"];
    const doomed = await sub(["-t", `${flag}/other`, ...will]);
    await doomed.stop("SIGKILL");
    equal((await reader.take(1)).join(), "lost", "will");
    await reader.stop();
  });

  await context.check(client, CAPABILITIES.session, async () => {
    const expiry = flag === "mqttv5" ? ["-x", "600"] : [];
    const mine = ["-t", `${flag}/session`, "-q", "1", "-c", "-i", `session-${flag}`, ...expiry];
    await (await sub(mine)).stop();
    for (const text of ["a", "b", "c"]) await pub("-t", `${flag}/session`, "-m", text, "-q", "1");
    const back = await sub(mine);
    equal((await back.take(3)).join(), "a,b,c", "what came meanwhile");
    await back.stop();
  });

  await context.check(client, CAPABILITIES["mqtt-shared"], async () => {
    const filter = ["-t", `$share/${flag}/${flag}/jobs`, "-q", "1"];
    const members = [await sub(filter), await sub(filter)];
    for (let index = 0; index < 10; index++) {
      await pub("-t", `${flag}/jobs`, "-m", String(index), "-q", "1");
    }
    await sleep(200);
    const got = await Promise.all(members.map((member) => member.take(10, 100)));
    equal(got.flat().sort().join(), "0,1,2,3,4,5,6,7,8,9", "each message once");
    for (const member of members) await member.stop();
  });

  if (flag !== "mqttv5") return;
  await context.check(client, CAPABILITIES["user-properties"], async () => {
    const reader = await sub(["-t", `${flag}/properties`, "-q", "1"], "%P|%C|%R|%p");
    const properties = ["-D", "publish", "user-property", "name", "value"];
    const more = ["-D", "publish", "content-type", "text/plain"];
    const reply = ["-D", "publish", "response-topic", "replies"];
    const all = [...properties, ...more, ...reply];
    await pub("-t", `${flag}/properties`, "-m", "text", "-q", "1", ...all);
    equal((await reader.take(1)).join(), "name:value|text/plain|replies|text", "properties");
    await reader.stop();
  });
}

export const mosquittoStep: Step = {
  name: "mosquitto",
  about: "mosquitto_pub and mosquitto_sub (Debian), MQTT 3.1.1 and 5",
  table: "MQTT",
  limitSeconds: 120,
  needs: [mosquittoClients],
  async run(context) {
    for (const [flag, name] of VERSIONS) await runChecks(context, flag, name);
  },
};
