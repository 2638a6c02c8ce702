/** What many STOMP tests do: fill a queue, look into it. */
import { type Frame, StompPeer } from "./stomp-peer.ts";
import type { TestBroker } from "./test-broker.ts";

/** Sends these bodies and leaves. */
export async function publish(
  broker: TestBroker,
  destination: string,
  bodies: readonly string[],
  headers = "",
): Promise<void> {
  const peer = await StompPeer.connect(broker);
  for (const body of bodies) peer.send(`SEND\ndestination:${destination}\n${headers}\n${body}\0`);
  await peer.settled();
  await leave(peer);
}

/** Bodies that are left in the queue, in order. */
export async function leftIn(broker: TestBroker, destination: string): Promise<string[]> {
  const peer = await StompPeer.connect(broker);
  peer.send(`SUBSCRIBE\nid:b\ndestination:${destination}\nbrowser:true\n\n\0`);
  const bodies: string[] = [];
  for (;;) {
    const frame = await peer.take("MESSAGE");
    if (frame.headers["browser"] === "end") break;
    bodies.push(frame.body.toString());
  }
  await leave(peer);
  return bodies;
}

export async function leave(peer: StompPeer): Promise<void> {
  peer.send("DISCONNECT\n\n\0");
  await peer.closed();
}

export const bodiesOf = (frames: readonly Frame[]): string[] =>
  frames.map((frame) => frame.body.toString());
