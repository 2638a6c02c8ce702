/**
 * The MessageStore in RAM: the same code as on disk, with files in memory and the writer on the calling thread.
 * Every watermark moves as soon as a turn is published; nothing survives the process. Use one MemoryStorage for
 * several stores, one after the other, to open what the last one left.
 */
import { CommitLogStore } from "./commit-log-store.ts";
import { MemoryStorage } from "./memory-storage.ts";

export class MemoryStore extends CommitLogStore {
  constructor(storage: MemoryStorage = new MemoryStorage()) {
    super({
      directory: "/memory",
      segmentBytes: 16 << 20,
      ringBytes: 4 << 20,
      queuePages: 1024,
      inlineOn: storage,
    });
  }
}
