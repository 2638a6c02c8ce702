/** What the real clients stompit and @stomp/stompjs send (test/fixtures/stomp/capture.mjs), read and played to the broker. */
import { readFileSync } from "node:fs";
import test from "ava";
import type { StompVersion } from "../../../protocols/stomp/codec/header-escape.ts";
import { parseAll } from "../../support/stomp-frames.ts";
import { leftIn } from "../../support/stomp-helpers.ts";
import { StompPeer, stompAdapter } from "../../support/stomp-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";

// Compiled tests run from dist/, the fixtures stay where they are.
const fixture = (name: string): Buffer => readFileSync(`test/fixtures/stomp/${name}.bin`);

for (const client of ["stompit", "stompjs"]) {
  for (const version of [10, 11, 12] as const satisfies readonly StompVersion[]) {
    const name = `${client}-${(version / 10).toFixed(1)}`;

    test(`${name}: every frame is read, however the stream is cut`, (t) => {
      const bytes = fixture(name);
      const frames = parseAll(bytes, version);
      t.deepEqual(
        frames.map((frame) => frame.command).filter((command) => command !== "NACK"),
        "CONNECT SEND SEND SUBSCRIBE ACK BEGIN SEND ABORT BEGIN SEND COMMIT UNSUBSCRIBE DISCONNECT".split(
          " ",
        ),
      );
      t.is(frames.length, version === 10 ? 13 : 14);
      const [, text, binary] = frames;
      const note = version === 12 ? "a:b\\c\nd" : "a:b c";
      t.deepEqual(text!.headers.slice(0, 3), [
        ["destination", "/queue/golden"],
        ["x-note", note],
        ["content-type", "text/plain"],
      ]);
      t.is(Buffer.from(text!.body, "latin1").toString(), "héllo");
      t.is(binary!.body, "\0\x01\x02\xff\0");
      for (let cut = 1; cut < bytes.length; cut++)
        t.deepEqual(parseAll(bytes, version, [cut]), frames);
    });

    test(`${name}: the scenario works out`, async (t) => {
      const broker = await openTestBroker();
      const bytes = fixture(name);
      const peer = new StompPeer(broker, stompAdapter(broker));
      const middle = bytes.indexOf("ACK\n");
      peer.send(bytes.subarray(0, middle), 11);
      await peer.take("CONNECTED");
      peer.speak(version);
      const [text, binary] = await peer.takeMessages(2);
      t.is(text!.body.toString(), "héllo");
      t.is(text!.headers["message-id"], "1-1-0");
      t.is(binary!.headers["content-length"], "5");
      peer.send(bytes.subarray(middle));
      await peer.closed();
      const commands = peer.frames.map((frame) => frame.command);
      t.false(commands.includes("ERROR"), commands.join());
      t.is(commands.at(-1), "RECEIPT");
      t.deepEqual(await leftIn(broker, "/queue/golden"), [binary!.body.toString(), "commit"]);
      await broker.close();
    });
  }
}
