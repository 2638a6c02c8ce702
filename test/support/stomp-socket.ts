/** Frames of STOMP to a broker of its own process, over a real socket. */
import { connect } from "node:net";
import { until } from "./wait.ts";

/** Connects, sends these frames, waits until all that came is like `answer`, and goes without a word. Returns what came. */
export async function sayFrames(port: number, frames: string, answer: RegExp): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  let received = "";
  let failure: Error | undefined;
  socket.on("data", (chunk) => {
    received += chunk;
  });
  socket.on("error", (error) => {
    failure = error;
  });
  try {
    socket.write(`CONNECT\naccept-version:1.2\nhost:localhost\n\n\0${frames}`);
    await until(`${answer} from port ${port}`, () => {
      if (failure !== undefined) throw failure;
      return answer.test(received);
    });
    return received;
  } finally {
    socket.destroy();
  }
}
