/**
 * What reading STOMP frames costs, without anything behind it: `node dist/bench/micro/stomp-codec.js`.
 * Nanoseconds per frame, best of five.
 */
import { FrameParser } from "../../protocols/stomp/codec/frame-parser.ts";

const FRAMES: ReadonlyArray<readonly [name: string, text: string]> = [
  [
    "SEND 100 B, four headers",
    `SEND\ndestination:/queue/q0\ncontent-length:100\npersistent:true\nreceipt:1234567\n\n${"x".repeat(100)}\0`,
  ],
  [
    "SEND 1 KiB, four headers",
    `SEND\ndestination:/queue/q0\ncontent-length:1024\npersistent:true\nreceipt:1234567\n\n${"x".repeat(1024)}\0`,
  ],
  ["SEND without content-length", `SEND\ndestination:/queue/q0\n\n${"x".repeat(100)}\0`],
  ["ACK", "ACK\nid:1-1-1234567\n\n\0"],
];
const COUNT = 64;

for (const [name, text] of FRAMES) {
  const bytes = Buffer.from(text.repeat(COUNT));
  const parser = new FrameParser("client");
  parser.version = 12;
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    const started = process.hrtime.bigint();
    let frames = 0;
    while (frames < 300_000) {
      for (let at = 0; at < bytes.length; frames++) at = parser.next(bytes, at, bytes.length);
    }
    best = Math.min(best, Number(process.hrtime.bigint() - started) / frames);
  }
  process.stdout.write(`${best.toFixed(0).padStart(5)} ns  ${name}\n`);
}
