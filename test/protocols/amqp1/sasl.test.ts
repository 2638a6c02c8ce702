import test from "ava";
import { PERFORMATIVE, SASL } from "../../../protocols/amqp1/codec/codes.ts";
import {
  binary,
  composite,
  NULL,
  string,
  symbol,
  symbolList,
} from "../../../protocols/amqp1/codec/value.ts";
import type { Authenticator } from "../../../src/security/authenticator.ts";
import { ANONYMOUS } from "../../../src/security/principal.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";
import { AMQP_HEADER, AmqpPeer, open, SASL_HEADER, TEST_AUTHENTICATOR } from "./support/peer.ts";

const init = (mechanism: string, response?: string, hostname?: string) =>
  composite(SASL.INIT, [
    symbol(mechanism),
    response === undefined ? NULL : binary(Buffer.from(response)),
    hostname === undefined ? NULL : string(hostname),
  ]);
const reply = (response: string) => composite(SASL.RESPONSE, [binary(Buffer.from(response))]);

test("PLAIN lets a user in, and the AMQP header is sent again", async (t) => {
  const broker = await openTestBroker();
  const peer = new AmqpPeer(broker);
  peer.wire.send(SASL_HEADER);
  const mechanisms = await peer.next(SASL.MECHANISMS);
  t.is(mechanisms.type, 1);
  t.deepEqual(symbolList(mechanisms.fields[0]), ["PLAIN", "ANONYMOUS"]);
  peer.wire.send(peer.frame(init("PLAIN", "\0ann\0right", "vhost:red"), 0, Buffer.alloc(0), 1));
  t.is((await peer.next(SASL.OUTCOME)).fields[0]!.value, 0);
  peer.wire.send(AMQP_HEADER);
  peer.send(open());
  await peer.next(PERFORMATIVE.OPEN);
  t.deepEqual(peer.headers, [SASL_HEADER, AMQP_HEADER]);
  const [connection] = broker.broker.connections.values();
  t.is(connection!.principal.name, "ann");
  t.is(connection!.namespace, "red");
  await broker.close();
});

test("everything up to open may be sent without waiting for answers", async (t) => {
  const broker = await openTestBroker();
  for (const pieceBytes of [1, 10_000]) {
    const peer = new AmqpPeer(broker);
    peer.wire.send(
      Buffer.concat([
        SASL_HEADER,
        peer.frame(init("ANONYMOUS"), 0, Buffer.alloc(0), 1),
        AMQP_HEADER,
        peer.frame(open()),
      ]),
      pieceBytes,
    );
    const outcome = await peer.next(SASL.OUTCOME);
    t.is(outcome.fields[0]?.value, 0);
    await peer.next(PERFORMATIVE.OPEN);
    t.deepEqual(peer.headers, [SASL_HEADER, AMQP_HEADER]);
  }
  await broker.close();
});

test("without an initial response the peer is asked for one", async (t) => {
  const broker = await openTestBroker();
  const peer = new AmqpPeer(broker);
  peer.wire.send(SASL_HEADER);
  peer.wire.send(peer.frame(init("PLAIN"), 0, Buffer.alloc(0), 1));
  t.is((await peer.next(SASL.CHALLENGE)).fields[0]!.type, "binary");
  peer.wire.send(peer.frame(reply("\0ann\0right"), 0, Buffer.alloc(0), 1));
  t.is((await peer.next(SASL.OUTCOME)).fields[0]!.value, 0);
  await broker.close();
});

test("wrong credentials and unknown mechanisms get outcome 1, then the wire ends", async (t) => {
  const broker = await openTestBroker();
  for (const wrong of [init("PLAIN", "\0ann\0wrong"), init("NTLM", "x")]) {
    const peer = new AmqpPeer(broker);
    peer.wire.send(SASL_HEADER);
    peer.wire.send(peer.frame(wrong, 0, Buffer.alloc(0), 1));
    t.is((await peer.next(SASL.OUTCOME)).fields[0]!.value, 1);
    t.true(peer.wire.isOver);
  }
  await broker.close();
});

test("a mechanism's last word comes as a challenge, and input waits while the answer takes time", async (t) => {
  const broker = await openTestBroker();
  const authenticator: Authenticator = {
    ...TEST_AUTHENTICATOR,
    startSasl: () => ({
      step: async () => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        return { kind: "success", principal: ANONYMOUS, data: Buffer.from("v=signature") };
      },
    }),
  };
  const peer = new AmqpPeer(broker, { authenticator });
  peer.wire.send(SASL_HEADER);
  peer.wire.send(
    Buffer.concat([
      peer.frame(init("SCRAM-SHA-256", "n,,n=ann,r=x"), 0, Buffer.alloc(0), 1),
      peer.frame(reply(""), 0, Buffer.alloc(0), 1),
      AMQP_HEADER,
      peer.frame(open()),
    ]),
  );
  const challenge = await peer.next(SASL.CHALLENGE);
  t.deepEqual(challenge.fields[0]!.value, Buffer.from("v=signature"));
  t.is((await peer.next(SASL.OUTCOME)).fields[0]!.value, 0);
  await peer.next(PERFORMATIVE.OPEN);
  await broker.close();
});

test("an authenticator that cannot answer gives outcome 4", async (t) => {
  const broker = await openTestBroker();
  for (const step of [
    () => ({ kind: "failure", isTemporary: true }) as const,
    () => Promise.reject(new Error("the directory is down")),
  ]) {
    const authenticator: Authenticator = { ...TEST_AUTHENTICATOR, startSasl: () => ({ step }) };
    const peer = new AmqpPeer(broker, { authenticator });
    peer.wire.send(SASL_HEADER);
    peer.wire.send(peer.frame(init("PLAIN", "x"), 0, Buffer.alloc(0), 1));
    t.is((await peer.next(SASL.OUTCOME)).fields[0]!.value, 4);
    t.true(peer.wire.isOver);
  }
  await broker.close();
});

test("ten rounds are enough for any mechanism", async (t) => {
  const broker = await openTestBroker();
  const authenticator: Authenticator = {
    ...TEST_AUTHENTICATOR,
    startSasl: () => ({ step: () => ({ kind: "challenge", data: Buffer.from("?") }) }),
  };
  const peer = new AmqpPeer(broker, { authenticator });
  peer.wire.send(SASL_HEADER);
  peer.wire.send(peer.frame(init("PLAIN", "x"), 0, Buffer.alloc(0), 1));
  for (let i = 0; i < 10; i++) peer.wire.send(peer.frame(reply("x"), 0, Buffer.alloc(0), 1));
  t.is((await peer.next(SASL.OUTCOME)).fields[0]!.value, 1);
  await broker.close();
});

test("without SASL a peer that may not be anonymous is shown the SASL header", async (t) => {
  const broker = await openTestBroker();
  const authenticator: Authenticator = {
    ...TEST_AUTHENTICATOR,
    withoutCredentials: () => undefined,
  };
  const peer = new AmqpPeer(broker, { authenticator });
  peer.wire.send(AMQP_HEADER);
  await until("a header", () => peer.headers.length > 0);
  t.deepEqual(peer.headers, [SASL_HEADER]);
  t.true(peer.wire.isOver);
  await broker.close();
});

test("SASL frames out of their place end the connection", async (t) => {
  const broker = await openTestBroker();
  const sasl =
    (value: Parameters<AmqpPeer["frame"]>[0], type = 1) =>
    (peer: AmqpPeer) =>
      peer.frame(value, 0, Buffer.alloc(0), type);
  for (const bytes of [
    sasl(reply("x")),
    sasl(init("PLAIN"), 0),
    sasl(composite(SASL.OUTCOME, [])),
    sasl(composite(SASL.INIT, [])),
    sasl(string("no composite")),
    () => Buffer.from([0, 0, 0, 8, 2, 1, 0, 0]),
  ]) {
    const peer = new AmqpPeer(broker);
    peer.wire.send(SASL_HEADER);
    peer.wire.send(bytes(peer));
    await until("the wire is over", () => peer.wire.isOver);
    t.false(peer.has(SASL.OUTCOME), "nobody was let in, or refused by name");
    t.deepEqual(peer.headers, [SASL_HEADER]);
  }
  await broker.close();
});
