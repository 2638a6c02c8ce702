/** MQTT.js: what only MQTT 5 has. */
import { sleep } from "../harness/broker-process.ts";
import { equal, truly } from "../harness/expect.ts";
import type { MqttChecks } from "./mqtt-common.ts";

export const FIVE_CHECKS: MqttChecks = {
  "user-properties": async ({ peer, prefix }) => {
    await peer.subscribe(`${prefix}/p`);
    const properties = {
      contentType: "text/plain",
      payloadFormatIndicator: true,
      userProperties: { a: "1", repeated: ["x", "y"], ünïcødé: "✓" },
    };
    await peer.publish(`${prefix}/p`, "text ✓", { qos: 1, properties });
    const got = (await peer.next()).properties;
    equal(got?.contentType, "text/plain", "content type");
    equal(got?.payloadFormatIndicator, true, "payload format");
    equal(
      JSON.stringify(got?.userProperties),
      JSON.stringify(properties.userProperties),
      "user properties",
    );
  },

  "request-response": async ({ peer, connect, prefix }) => {
    const service = await connect();
    await service.subscribe(`${prefix}/service`);
    await peer.subscribe(`${prefix}/replies`);
    const correlationData = Buffer.from([0, 1, 2, 255]);
    const properties = { responseTopic: `${prefix}/replies`, correlationData };
    await peer.publish(`${prefix}/service`, "6*7", { qos: 1, properties });
    const request = await service.next();
    const { responseTopic, correlationData: back } = request.properties ?? {};
    await service.publish(responseTopic!, "42", { qos: 1, properties: { correlationData: back! } });
    const reply = await peer.next();
    equal(reply.payload.toString(), "42", "reply");
    truly(
      correlationData.equals(reply.properties?.correlationData ?? Buffer.alloc(0)),
      "correlation data",
    );
  },

  "subscription-ids": async ({ peer, connect, prefix }) => {
    const subscriber = await connect();
    await subscriber.subscribe(`${prefix}/+`, {
      qos: 1,
      properties: { subscriptionIdentifier: 7 },
    });
    await peer.publish(`${prefix}/one`, "a");
    equal(subscriptionIds(await subscriber.next()), "7", "identifiers");
    await subscriber.subscribe(`${prefix}/#`, {
      qos: 1,
      properties: { subscriptionIdentifier: 268_435_455 },
    });
    await peer.publish(`${prefix}/one`, "b");
    // One copy with both, or one copy each: the standard leaves it open.
    const first = subscriptionIds(await subscriber.next());
    const all = first.includes(",")
      ? first
      : `${first},${subscriptionIds(await subscriber.next())}`;
    equal(all.split(",").sort().join(), "268435455,7", "identifiers of overlapping filters");
  },

  "subscription-options": async ({ peer, connect, prefix }) => {
    const other = await connect();
    await peer.subscribe(`${prefix}/nl`, { qos: 1, nl: true });
    await peer.publish(`${prefix}/nl`, "own");
    await other.publish(`${prefix}/nl`, "foreign");
    equal(await peer.texts(1), "foreign", "no local");
    await peer.expectQuiet(100);

    await other.publish(`${prefix}/r`, "kept", { qos: 1, retain: true });
    await peer.subscribe(`${prefix}/r`, { qos: 1, rh: 2 });
    await peer.expectQuiet(100);
    await peer.subscribe(`${prefix}/r`, { qos: 1, rh: 1 });
    await peer.expectQuiet(100);
    await peer.subscribe(`${prefix}/r`, { qos: 1, rh: 0, rap: true });
    equal((await peer.next()).retain, true, "retained again with retain handling 0");
    await other.publish(`${prefix}/r`, "live", { qos: 1, retain: true });
    equal((await peer.next()).retain, true, "retain as published");
    await other.publish(`${prefix}/r`, "", { qos: 1, retain: true });
  },

  "topic-alias": async ({ peer, connect, prefix }) => {
    const publisher = await connect();
    await peer.subscribe(`${prefix}/#`);
    const options = { qos: 1 as const, properties: { topicAlias: 1 } };
    await publisher.publish(`${prefix}/aliased`, "first", options);
    await publisher.publish("", "second", options);
    for (const text of ["first", "second"]) {
      const message = await peer.next();
      equal(message.payload.toString(), text, "text");
      equal(message.topic, `${prefix}/aliased`, "topic");
    }
    // And towards a client that allows them.
    const frugal = await connect({ properties: { topicAliasMaximum: 5 } });
    await frugal.subscribe(`${prefix}/long/topic/name`);
    for (let index = 0; index < 4; index++)
      await peer.publish(`${prefix}/long/topic/name`, `m${index}`);
    for (let index = 0; index < 4; index++) {
      const message = await frugal.next();
      equal(message.topic, `${prefix}/long/topic/name`, "topic through an alias");
    }
  },

  "message-expiry": async ({ peer, connect, prefix }) => {
    const properties = { sessionExpiryInterval: 600 };
    const away = await connect({ clientId: `${prefix}-expiry`, clean: false, properties });
    await away.subscribe(`${prefix}/e`);
    await away.end();
    await peer.publish(`${prefix}/e`, "short", {
      qos: 1,
      properties: { messageExpiryInterval: 1 },
    });
    await peer.publish(`${prefix}/e`, "long", {
      qos: 1,
      properties: { messageExpiryInterval: 60 },
    });
    await sleep(1500);
    const back = await connect({ clientId: `${prefix}-expiry`, clean: false, properties });
    const message = await back.next();
    equal(message.payload.toString(), "long", "what has not expired");
    const left = message.properties?.messageExpiryInterval ?? 0;
    truly(left >= 57 && left <= 59, `interval is what remains: ${left}`);
    await back.expectQuiet();
  },

  "session-expiry": async ({ peer, connect, prefix }) => {
    const brief = {
      clientId: `${prefix}-brief`,
      clean: false,
      properties: { sessionExpiryInterval: 1 },
    };
    const first = await connect(brief);
    await first.subscribe(`${prefix}/s`);
    await first.end();
    await sleep(2200);
    await peer.publish(`${prefix}/s`, "late");
    const second = await connect(brief);
    equal(second.sessionPresent, false, "session present after its expiry");
    await second.expectQuiet(100);
  },

  "will-delay": async ({ peer, connect, prefix }) => {
    await peer.subscribe(`${prefix}/will`);
    const doomed = (name: string) => ({
      clientId: `${prefix}-${name}`,
      clean: false,
      properties: { sessionExpiryInterval: 600 },
      will: {
        topic: `${prefix}/will`,
        payload: Buffer.from(name),
        qos: 1 as const,
        retain: false,
        properties: { willDelayInterval: 1 },
      },
    });
    const returns = await connect(doomed("returns"));
    const stays = await connect(doomed("stays away"));
    returns.drop();
    stays.drop();
    await peer.expectQuiet(300);
    const back = await connect(doomed("returns"));
    equal((await peer.next()).payload.toString(), "stays away", "will after its delay");
    await peer.expectQuiet(700);
    await back.end();
  },

  "reason-codes": async ({ peer, prefix }) => {
    const acknowledged = new Promise<number>((resolve) => {
      peer.client.once("packetreceive", (packet) => {
        if (packet.cmd === "puback") resolve(packet.reasonCode ?? 0);
      });
    });
    await peer.publish(`${prefix}/nobody`, "x");
    const nobody = await acknowledged;
    equal(nobody, 0x10, "no matching subscribers");
    const refused = await peer.subscribe("$share//x").then(
      (qos) => qos >= 0x80,
      () => true,
    );
    truly(refused, "an invalid filter is refused");
  },
};

const subscriptionIds = (message: {
  properties?: { subscriptionIdentifier?: number | number[] };
}): string => String(message.properties?.subscriptionIdentifier ?? "");
