import test from "ava";
import { startBroker } from "../src/index.ts";
import { sayFrames } from "./support/stomp-socket.ts";
import { temporaryFolder } from "./support/temporary-folder.ts";

test("a broker inside another program takes messages, keeps them over a stop, and leaves no port behind", async (t) => {
  const data = temporaryFolder(t);
  const first = await startBroker({ data, port: "0" });
  const kept = "SEND\ndestination:/queue/q\nreceipt:r\n\nkept\0";
  await sayFrames(first.ports["main"]!, kept, /RECEIPT/);
  await first.stop();
  await t.throwsAsync(sayFrames(first.ports["main"]!, "", /CONNECTED/));
  const second = await startBroker({ data, port: "0" });
  const subscribe = "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n\0";
  await sayFrames(second.ports["main"]!, subscribe, /MESSAGE[\s\S]*kept/);
  await second.stop();
});

test("two brokers cannot share a data directory", async (t) => {
  const data = temporaryFolder(t);
  const first = await startBroker({ data, port: "0" });
  await t.throwsAsync(startBroker({ data, port: "0" }), { message: /data directory/ });
  await first.stop();
});
