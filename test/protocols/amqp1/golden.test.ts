/** Recorded streams of real clients are understood, however they are cut. */
import { readFileSync } from "node:fs";
import test, { type ExecutionContext } from "ava";
import { PERFORMATIVE, SASL } from "../../../protocols/amqp1/codec/codes.ts";
import type { Authenticator } from "../../../src/security/authenticator.ts";
import { Random } from "../../support/random.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { AmqpPeer, errorOf, type PeerFrame, TEST_AUTHENTICATOR } from "./support/peer.ts";

interface Recorded {
  readonly client: string;
  readonly shows: readonly string[];
  readonly hex: string;
}

const streams = JSON.parse(
  readFileSync("test/fixtures/amqp1/client-streams.json", "utf8"),
) as Recorded[];

/** Proofs of SCRAM do not hold for another nonce: any second answer is right. */
const ANY_LOGIN: Authenticator = {
  ...TEST_AUTHENTICATOR,
  startSasl(mechanism) {
    let rounds = mechanism.startsWith("SCRAM") ? 1 : 0;
    return {
      step: () =>
        rounds-- > 0
          ? { kind: "challenge", data: Buffer.from("r=x,s=eA==,i=1") }
          : {
              kind: "success",
              principal: { name: "guest", isAnonymous: false, mechanism },
              ...(mechanism.startsWith("SCRAM") ? { data: Buffer.from("v=x") } : {}),
            },
    };
  },
};

/** What does not depend on timing: the answers to what was asked, and the errors. */
function essence(frames: readonly PeerFrame[]): string[] {
  const out: string[] = [];
  for (const { code, channel, fields } of frames) {
    switch (code) {
      case PERFORMATIVE.FLOW:
      case PERFORMATIVE.TRANSFER:
      case PERFORMATIVE.DISPOSITION:
        break;
      case PERFORMATIVE.ATTACH:
        out.push(
          `${channel} attach ${fields[0]!.value} ${fields[1]!.value} ${fields[5]?.type} ${fields[6]?.type}`,
        );
        break;
      case PERFORMATIVE.DETACH:
        out.push(`${channel} detach ${fields[0]!.value} ${errorOf(fields[2]).condition}`);
        break;
      default:
        out.push(`${channel} 0x${code.toString(16)} ${errorOf(fields[0]).condition}`);
    }
  }
  return out;
}

async function replay(
  t: ExecutionContext,
  stream: Recorded,
  cuts: readonly number[] | 1,
): Promise<string[]> {
  const broker = await openTestBroker();
  const peer = new AmqpPeer(broker, { authenticator: ANY_LOGIN });
  const bytes = Buffer.from(stream.hex, "hex");
  if (cuts === 1) peer.wire.send(bytes, 1);
  else {
    let at = 0;
    for (const cut of [...cuts, bytes.length]) {
      peer.wire.send(bytes.subarray(at, cut));
      at = cut;
    }
  }
  await peer.settled();
  peer.wire.flush();
  t.true(peer.wire.isOver || !stream.shows.includes("c18"), "a close is followed by the end");
  const result = essence(peer.frames);
  await broker.close();
  return result;
}

for (const [index, stream] of streams.entries()) {
  test(`stream ${index} of ${stream.client} is understood, however it is cut`, async (t) => {
    const whole = await replay(t, stream, []);
    t.is(whole[0], `0 0x${SASL.MECHANISMS.toString(16)} `);
    t.true(whole.includes("0 0x10 "), "open");
    t.true(whole.includes("0 0x11 "), "begin");
    // Only what the client itself asked wrongly is refused: a selector that does not parse.
    const errors = whole.filter((line) => / amqp:/.test(line));
    const isWrongSelector = stream.hex.includes(Buffer.from("= = 'red'").toString("hex"));
    t.deepEqual(errors, isWrongSelector ? ["0 detach 0 amqp:invalid-field"] : []);
    t.deepEqual(await replay(t, stream, 1), whole);
    const random = new Random(index);
    const { length } = Buffer.from(stream.hex, "hex");
    for (let run = 0; run < 4; run++) {
      const cuts = Array.from({ length: random.between(1, 6) }, () => random.below(length));
      t.deepEqual(
        await replay(
          t,
          stream,
          cuts.sort((a, b) => a - b),
        ),
        whole,
      );
    }
  });
}
