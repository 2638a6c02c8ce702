/**
 * The event loop's side of the store writer: starts it, wakes it, posts to it, hears from it. Two kinds: the store
 * thread, and in line for tests, where each publish has run to its end when it returns and the disk may be a simulated one.
 */
import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import { SharedControl, WORD } from "./shared-control.ts";
import type { Storage } from "./storage-file.ts";
import { StoreWriter } from "./store-writer.ts";
import type { FromWriter, ToWriter, WriterStart } from "./writer-messages.ts";

export interface WriterEvents {
  /** Something moved: watermarks, room, or there is a message. */
  onWake(): void;
  /** The writer is gone without having been closed. */
  onDeath(error: Error): void;
}

export interface WriterLink {
  post(message: ToWriter): void;
  wake(): void;
  /** The next message from the writer, if any. */
  take(): FromWriter | undefined;
  /** Resolves when the writer has ended, in whatever way. */
  readonly ended: Promise<void>;
}

export function startThread(start: WriterStart, events: WriterEvents): WriterLink {
  const control = new SharedControl(start.control);
  const { port1, port2 } = new MessageChannel();
  // The same module, compiled or not.
  const file = import.meta.url.endsWith(".ts") ? "./store-thread.ts" : "./store-thread.js";
  const worker = new Worker(new URL(file, import.meta.url), {
    name: "store",
    workerData: { start, port: port2 },
    transferList: [port2],
    resourceLimits: { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 256 },
  });
  let isOver = false;
  let taken = 0;
  const ended = new Promise<void>((resolve) => {
    worker.on("error", (error) => {
      isOver = true;
      events.onDeath(error instanceof Error ? error : new Error(String(error)));
    });
    worker.on("exit", () => {
      isOver = true;
      port1.close();
      resolve();
    });
  });
  const listen = (): void => {
    const seen = control.load(WORD.WAKE_LOOP);
    events.onWake();
    if (isOver) return;
    const wait = Atomics.waitAsync(control.words, WORD.WAKE_LOOP, seen);
    // Moved meanwhile: once more, but let the event loop do its other work first.
    if (wait.async) void wait.value.then(listen);
    else setImmediate(listen);
  };
  listen();
  return {
    post(message) {
      port1.postMessage(message, buffersOf(message));
      control.add(WORD.POSTED, 1);
    },
    wake: () => control.wakeWriter(),
    take() {
      // A look into the port costs a microsecond; the counter says whether it is worth it.
      if (taken === control.load(WORD.REPLIED)) return undefined;
      const message = receiveMessageOnPort(port1)?.message as FromWriter | undefined;
      if (message !== undefined) taken = (taken + 1) | 0;
      return message;
    },
    ended,
  };
}

/** What changes hands instead of being copied. */
function buffersOf(message: ToWriter): readonly ArrayBuffer[] {
  if (message.kind === "side") return [message.bytes];
  return message.kind === "snapshot" ? message.chunks : [];
}

/** When the two sides of an inline store run. By default the writer at once, and the loop in a later turn. */
export interface InlineSchedule {
  /** Something waits for the writer. Each task runs once. */
  writer(task: () => void): void;
  /** Something waits for the event loop. */
  loop(task: () => void): void;
  /** The writer wants to run again after this time. */
  later(task: () => void, ms: number): void;
}

const AT_ONCE: InlineSchedule = {
  writer: (task) => task(),
  loop: setImmediate,
  later: (task, ms) => void setTimeout(task, ms).unref(),
};

/** Runs the writer on this thread; `onWake` follows in a later turn, as it would from a thread. */
export function startInline(
  start: WriterStart,
  events: WriterEvents,
  storage: Storage,
  schedule: InlineSchedule = AT_ONCE,
): WriterLink & { readonly writer: StoreWriter } {
  const toWriter: ToWriter[] = [];
  const fromWriter: FromWriter[] = [];
  const control = new SharedControl(start.control);
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const writer = new StoreWriter(storage, start, {
    take: () => toWriter.shift(),
    reply: (message) => void fromWriter.push(message),
  });
  let isLoopScheduled = false;
  let isLaterScheduled = false;
  let isWriterScheduled = false;
  const runWriter = (): void => {
    isWriterScheduled = false;
    if (writer.isClosed) return;
    // Resting is for real disks; here the next pass may come at once.
    let now = performance.now();
    for (let wait = 0; wait !== Number.POSITIVE_INFINITY && !writer.isClosed; now += wait) {
      wait = writer.step(now);
      if (writer.isResting || wait === 0) continue;
      if (wait !== Number.POSITIVE_INFINITY && !isLaterScheduled) {
        isLaterScheduled = true;
        schedule.later(() => {
          isLaterScheduled = false;
          runWriter();
        }, wait);
      }
      break;
    }
    if (isLoopScheduled) return;
    isLoopScheduled = true;
    schedule.loop(() => {
      isLoopScheduled = false;
      events.onWake();
      if (writer.isClosed) end();
    });
  };
  return {
    writer,
    post(message) {
      toWriter.push(message);
      control.add(WORD.POSTED, 1);
    },
    wake() {
      if (isWriterScheduled) return;
      isWriterScheduled = true;
      schedule.writer(runWriter);
    },
    take: () => fromWriter.shift(),
    ended,
  };
}
