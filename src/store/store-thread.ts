/**
 * The store thread: runs the StoreWriter and sleeps in Atomics.wait when there is nothing to do. Nothing here is ever
 * called back by an event loop; messages are taken from the port when the shared counter says that there are some.
 */
import { type MessagePort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { CopyMemory } from "../util/copy-memory.ts";
import { keepHeapTight } from "../util/spare-memory.ts";
import { WORD } from "./shared-control.ts";
import { fileSystem } from "./storage-file.ts";
import { StoreWriter } from "./store-writer.ts";
import type { ToWriter, WriterStart } from "./writer-messages.ts";

const { start, port } = workerData as { start: WriterStart; port: MessagePort };
if (start.memory !== null) CopyMemory.join(start.memory);
keepHeapTight();
const writer = new StoreWriter(fileSystem, start, {
  take: () => receiveMessageOnPort(port)?.message as ToWriter | undefined,
  reply: (message) => port.postMessage(message),
});
const { words } = writer.control;

while (!writer.isClosed) {
  // Before the step: what is published while it runs makes the wait return at once.
  const seen = Atomics.load(words, WORD.WAKE_WRITER);
  const wait = writer.step(performance.now());
  if (writer.isClosed) break;
  if (writer.isResting) Atomics.wait(words, WORD.SLEEP, 0, wait);
  else if (wait > 0) writer.control.sleep(seen, wait);
}
port.close();
