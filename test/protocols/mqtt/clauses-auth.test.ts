/** Enhanced authentication (MQTT 5 §4.12), by clause, against the real SCRAM of the server. */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import test from "ava";
import type { Packet } from "mqtt-packet";
import { LoopbackPolicy } from "../../../src/security/loopback.ts";
import { UserAuthenticator } from "../../../src/security/user-authenticator.ts";
import type { UserStore } from "../../../src/security/users.ts";
import { makeUser } from "../../../src/security/users-file.ts";
import { SILENT } from "../../../src/telemetry/log.ts";
import { MqttPeer } from "../../support/mqtt-peer.ts";
import { openTestBroker, type TestBroker } from "../../support/test-broker.ts";

const ann = makeUser("ann", "secret", []);
const bob = makeUser("bob", "secret", []);

async function authenticator(): Promise<UserAuthenticator> {
  const known = { ann: await ann, bob: await bob };
  const users: UserStore = {
    size: 2,
    generation: 1,
    find: (name) => known[name as "ann" | "bob"],
  };
  return new UserAuthenticator({
    users,
    loopback: new LoopbackPolicy("auto", users),
    allowPlainWithoutTls: true,
    certificateName: "commonName",
    failureDelayMs: 1,
    logger: SILENT,
  });
}

/** The client's half of SCRAM, RFC 5802. */
class Scram {
  readonly method: string;
  readonly #hash: string;
  readonly #user: string;
  readonly #password: string;
  readonly #nonce = randomBytes(12).toString("base64");
  #signature = "";

  constructor(hash: "sha256" | "sha512", user = "ann", password = "secret") {
    this.method = hash === "sha256" ? "SCRAM-SHA-256" : "SCRAM-SHA-512";
    this.#hash = hash;
    this.#user = user;
    this.#password = password;
  }

  first(): Buffer {
    return Buffer.from(`n,,n=${this.#user},r=${this.#nonce}`);
  }

  final(challenge: Buffer): Buffer {
    const serverFirst = challenge.toString();
    const [, nonce, salt, rounds] = /^r=([^,]+),s=([^,]+),i=(\d+)/.exec(serverFirst)!;
    const size = createHash(this.#hash).digest().length;
    const salted = pbkdf2Sync(
      this.#password,
      Buffer.from(salt!, "base64"),
      Number(rounds),
      size,
      this.#hash,
    );
    const hmac = (key: Buffer, text: string): Buffer =>
      createHmac(this.#hash, key).update(text).digest();
    const clientKey = hmac(salted, "Client Key");
    const stored = createHash(this.#hash).update(clientKey).digest();
    const bare = `c=biws,r=${nonce}`;
    const all = `n=${this.#user},r=${this.#nonce},${serverFirst},${bare}`;
    const proof = hmac(stored, all).map((byte, i) => byte ^ clientKey[i]!);
    this.#signature = hmac(hmac(salted, "Server Key"), all).toString("base64");
    return Buffer.from(`${bare},p=${Buffer.from(proof).toString("base64")}`);
  }

  isServer(data: Buffer | undefined): boolean {
    return data?.toString() === `v=${this.#signature}`;
  }
}

const connectWith = (peer: MqttPeer, scram: Scram, more: object = {}): void =>
  peer.sendConnect({
    protocolVersion: 5,
    properties: { authenticationMethod: scram.method, authenticationData: scram.first() },
    ...more,
  });

const auth = (peer: MqttPeer, method: string, data: Buffer, reasonCode = 0x18): void =>
  peer.send({
    cmd: "auth",
    reasonCode,
    properties: { authenticationMethod: method, authenticationData: data },
  } as Packet);

/** A peer that may log in. */
const arriving = async (broker: TestBroker): Promise<MqttPeer> =>
  new MqttPeer(broker, { authenticator: await authenticator() });

/** Answers the challenge that comes next. */
async function respond(peer: MqttPeer, scram: Scram): Promise<void> {
  const { properties } = await peer.take("auth");
  auth(peer, scram.method, scram.final(properties!.authenticationData!));
}

/** A peer that is in, as Ann. */
async function loggedIn(broker: TestBroker): Promise<MqttPeer> {
  const peer = await arriving(broker);
  const scram = new Scram("sha256");
  connectWith(peer, scram);
  await respond(peer, scram);
  await peer.take("connack");
  return peer;
}

for (const hash of ["sha256", "sha512"] as const) {
  test(`[MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] SCRAM with ${hash}: challenge, response, CONNACK with the server's proof`, async (t) => {
    const broker = await openTestBroker();
    const peer = await arriving(broker);
    const scram = new Scram(hash);
    connectWith(peer, scram);
    const challenge = await peer.take("auth");
    t.is(challenge.reasonCode, 0x18);
    t.is(challenge.properties?.authenticationMethod, scram.method);
    auth(peer, scram.method, scram.final(challenge.properties!.authenticationData!));
    const connack = await peer.take("connack");
    t.is(connack.reasonCode, 0);
    t.is(connack.properties?.authenticationMethod, scram.method);
    t.true(scram.isServer(connack.properties?.authenticationData));
    t.deepEqual(await peer.subscribe("a", 1), [1]);
    await broker.close();
  });
}

test("[MQTT-4.12.0-1] a method the server does not have is refused with 0x8C", async (t) => {
  const broker = await openTestBroker();
  const peer = await arriving(broker);
  peer.sendConnect({ protocolVersion: 5, properties: { authenticationMethod: "GS2-KRB5" } });
  t.is((await peer.take("connack")).reasonCode, 0x8c);
  await peer.closed();
  await broker.close();
});

test("[MQTT-4.12.0-4] a wrong proof is refused, and the connection closed", async (t) => {
  const broker = await openTestBroker();
  const peer = await arriving(broker);
  const scram = new Scram("sha256", "ann", "guess");
  connectWith(peer, scram);
  await respond(peer, scram);
  t.is((await peer.take("connack")).reasonCode, 0x87);
  await peer.closed();
  await broker.close();
});

test("[MQTT-3.1.2-30] during the exchange nothing but AUTH and DISCONNECT is taken", async (t) => {
  const broker = await openTestBroker();
  const peer = await arriving(broker);
  connectWith(peer, new Scram("sha256"));
  await peer.take("auth");
  peer.send({ cmd: "pingreq" });
  t.is((await peer.take("connack")).reasonCode, 0x82);
  await peer.closed();
  await broker.close();
});

test("AUTH with another method than CONNECT, or without any, is a protocol error", async (t) => {
  const broker = await openTestBroker();
  const peer = await arriving(broker);
  connectWith(peer, new Scram("sha256"));
  await peer.take("auth");
  auth(peer, "SCRAM-SHA-512", Buffer.from("x"));
  t.is((await peer.take("connack")).reasonCode, 0x82);
  const { peer: plain } = await MqttPeer.connect(broker, { protocolVersion: 5 });
  auth(plain, "SCRAM-SHA-256", Buffer.from("x"));
  t.is((await plain.take("disconnect")).reasonCode, 0x82);
  await broker.close();
});

test("[MQTT-4.12.1-1] [MQTT-4.12.1-2] a client may authenticate again while it goes on; failing ends the connection", async (t) => {
  const broker = await openTestBroker();
  const peer = await loggedIn(broker);
  await peer.subscribe("a", 1);

  const again = new Scram("sha256");
  auth(peer, again.method, again.first(), 0x19);
  const challenge = await peer.take("auth");
  await peer.publish("a", "in between", 1);
  t.is((await peer.message()).text, "in between");
  auth(peer, again.method, again.final(challenge.properties!.authenticationData!));
  const done = await peer.take("auth");
  t.is(done.reasonCode, 0);
  t.true(again.isServer(done.properties?.authenticationData));

  const wrong = new Scram("sha256", "ann", "guess");
  auth(peer, wrong.method, wrong.first(), 0x19);
  await respond(peer, wrong);
  t.is((await peer.take("disconnect")).reasonCode, 0x87);
  await broker.close();
});

test("a client that authenticates again with a new token may stay as long as that one holds", async (t) => {
  const broker = await openTestBroker();
  let expiresAt = 1000;
  const tokens = Object.assign(await authenticator(), {
    startSasl: (mechanism: string) => ({
      step: () => ({
        kind: "success" as const,
        principal: { name: "ann", isAnonymous: false, mechanism, expiresAt: expiresAt++ },
      }),
    }),
  });
  const peer = new MqttPeer(broker, { authenticator: tokens });
  peer.sendConnect({ protocolVersion: 5, properties: { authenticationMethod: "OAUTHBEARER" } });
  await peer.take("connack");
  const endsAt = () =>
    [...broker.broker.connections.values()].map(({ principal }) => principal.expiresAt);
  t.deepEqual(endsAt(), [1000]);
  auth(peer, "OAUTHBEARER", Buffer.from("another"), 0x19);
  await peer.take("auth");
  t.deepEqual(endsAt(), [1001]);
  await broker.close();
});

test("authenticating again as somebody else ends the connection", async (t) => {
  const broker = await openTestBroker();
  const peer = await loggedIn(broker);
  const other = new Scram("sha256", "bob");
  auth(peer, other.method, other.first(), 0x19);
  await respond(peer, other);
  t.is((await peer.take("disconnect")).reasonCode, 0x87);
  await broker.close();
});

test("user name and password: the right ones are let in, wrong and unknown ones are not", async (t) => {
  const broker = await openTestBroker();
  const door = await authenticator();
  for (const [user, password, code] of [
    ["ann", "secret", 0],
    ["ann", "guess", 0x86],
    ["nobody", "secret", 0x86],
  ] as const) {
    const peer = new MqttPeer(broker, { authenticator: door });
    peer.sendConnect({ protocolVersion: 5, username: user, password: Buffer.from(password) });
    t.is((await peer.take("connack")).reasonCode, code, user);
  }
  const peer = new MqttPeer(broker, { authenticator: door });
  peer.sendConnect({ protocolVersion: 4 });
  t.is(
    (await peer.take("connack")).returnCode,
    5,
    "there are users: nobody comes in without being one",
  );
  await broker.close();
});
