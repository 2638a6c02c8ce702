import test from "ava";
import { interopDocument, type TabledCell } from "../../interop/harness/report.ts";

const cell = (client: string, capability: string): TabledCell => ({
  table: "Together",
  cell: {
    step: "s",
    client,
    capability,
    status: "pass",
    detail: "",
  } as unknown as TabledCell["cell"],
});

test("the columns of the document do not depend on which client came first", (t) => {
  const clients = [
    ...["rhea", "rhea (WebSocket)", "Qpid JMS 1.16", "Qpid JMS 2.10", "stompit", "stomp.py 1.2"],
    ...["MQTT.js 3.1.1", "MQTT.js 5", "mosquitto", "Paho Java 5", "curl", "rhea, stompit at once"],
  ];
  const head = `| ${["", ...clients].join(" | ")} |`;
  for (const order of [clients, [...clients].reverse(), [...clients].sort()]) {
    const document = interopDocument(
      order.map((client) => cell(client, "holds")),
      [],
    );
    t.is(
      document.split("\n").find((line) => line.startsWith("| ")),
      head,
    );
  }
});
