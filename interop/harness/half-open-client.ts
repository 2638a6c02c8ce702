/**
 * A process with well-behaved clients: MQTT with a keep-alive, STOMP with heart-beats, AMQP 1.0 (rhea) with the empty frames
 * that the broker's idle time-out asks for. Says "ready" and goes on until it is
 * stopped (SIGSTOP: then its peers are half open, nothing says that it is gone) or killed.
 *
 *   node dist/interop/harness/half-open-client.js PORT COUNT SECONDS
 */
import { connect } from "node:net";
import { MqttPeer } from "./mqtt-peer.ts";
import { RheaPeer } from "./rhea-peer.ts";

const [port = "0", count = "1", seconds = "1"] = process.argv.slice(2);
const endpoint = { host: "127.0.0.1", port: Number(port), user: "guest", password: "guest" };
const beatMs = Number(seconds) * 1000;

for (let i = 0; i < Number(count); i++) {
  await MqttPeer.connect(endpoint, { clientId: `half ${i}`, keepaliveSeconds: Number(seconds) });
  const socket = connect(endpoint.port, endpoint.host);
  socket.write(`CONNECT\naccept-version:1.2\nhost:/\nheart-beat:${beatMs},${beatMs}\n\n\0`);
  await new Promise((resolve) => socket.once("data", resolve));
  socket.on("error", () => undefined);
  setInterval(() => socket.write("\n"), beatMs / 2);
  await RheaPeer.connect(endpoint, { containerId: `half ${i}` });
}
process.stdout.write("ready\n");
