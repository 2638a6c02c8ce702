import * as net from "node:net";
import test from "ava";
import { startBroker } from "../src/index.ts";
import { temporaryFolder } from "./support/temporary-folder.ts";
import { until } from "./support/wait.ts";

test("a broker inside another program takes messages, keeps them over a stop, and leaves no port behind", async (t) => {
  const data = temporaryFolder(t);
  const talk = async (port: number, frames: string, answer: RegExp) => {
    const socket = net.connect(port, "127.0.0.1");
    let received = "";
    socket.on("data", (chunk) => (received += chunk));
    socket.write(`CONNECT\naccept-version:1.2\nhost:localhost\n\n\0${frames}`);
    let failure: Error | undefined;
    socket.on("error", (error) => {
      failure = error;
    });
    await until(`${answer}`, () => {
      if (failure !== undefined) throw failure;
      return answer.test(received);
    });
    socket.destroy();
  };
  const first = await startBroker({ data, port: "0" });
  await talk(first.ports["main"]!, "SEND\ndestination:/queue/q\nreceipt:r\n\nkept\0", /RECEIPT/);
  await first.stop();
  await t.throwsAsync(talk(first.ports["main"]!, "", /CONNECTED/));
  const second = await startBroker({ data, port: "0" });
  await talk(
    second.ports["main"]!,
    "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n\0",
    /MESSAGE[\s\S]*kept/,
  );
  await second.stop();
});

test("two brokers cannot share a data directory", async (t) => {
  const data = temporaryFolder(t);
  const first = await startBroker({ data, port: "0" });
  await t.throwsAsync(startBroker({ data, port: "0" }), { message: /data directory/ });
  await first.stop();
});
