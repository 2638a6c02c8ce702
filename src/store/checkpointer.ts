/**
 * The store thread's side of a checkpoint: once the log and the queue files are as far as it says, syncs each file
 * written since the last one, one per step, so that group commits go on in between; then catalog, Index and slot.
 */
import { join } from "node:path";
import { CheckpointFile } from "./checkpoint.ts";
import type { IndexStore } from "./index-store.ts";
import type { PageWriter } from "./page-writer.ts";
import { SegmentIdentities } from "./segment-identities.ts";
import { removeIfPossible, type Storage, type StorageFile } from "./storage-file.ts";
import type { CheckpointRequest } from "./writer-messages.ts";

export const catalogPath = (directory: string, file: number): string =>
  join(directory, "queues", `catalog-${file}`);

interface Progress {
  readonly request: CheckpointRequest;
  isCatalogWritten: boolean;
  /** What is left to sync; null before the list is taken. */
  files: string[] | null;
  folders: string[];
}

export class Checkpointer {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #pages: PageWriter;
  readonly #index: IndexStore;
  readonly #file: CheckpointFile;
  readonly #identities: SegmentIdentities;
  readonly #queue: Progress[] = [];
  readonly #catalogs = new Map<number, StorageFile>();
  #syncedCatalog = -1;

  constructor(storage: Storage, directory: string, pages: PageWriter, index: IndexStore) {
    this.#storage = storage;
    this.#directory = directory;
    this.#pages = pages;
    this.#index = index;
    this.#file = new CheckpointFile(storage, join(directory, "queues", "checkpoint"));
    this.#identities = new SegmentIdentities(storage, directory);
  }

  add(request: CheckpointRequest): void {
    this.#queue.push({ request, isCatalogWritten: false, files: null, folders: [] });
  }

  get isBusy(): boolean {
    return this.#queue.length > 0;
  }

  /** The log has to be durable up to here for the next one. */
  get wantsDurable(): number {
    return this.#queue[0]?.request.checkpoint.offset ?? 0;
  }

  /** Does the next piece. Returns the request when that completed it, true when there is more to do now, else false. */
  run(durable: number): CheckpointRequest | boolean {
    const progress = this.#queue[0];
    if (progress === undefined) return false;
    const { request } = progress;
    const { checkpoint } = request;
    if (durable < checkpoint.offset || this.#pages.completed < request.commands) return false;
    if (!progress.isCatalogWritten) {
      for (const { file, at, bytes } of request.batches) {
        this.#catalog(file).write(new Uint8Array(bytes), 0, bytes.byteLength, at);
      }
      progress.isCatalogWritten = true;
      return true;
    }
    if (!this.#syncSome(progress)) return true;
    this.#index.checkpoint();
    this.#catalog(checkpoint.catalogFile).sync();
    this.#storage.syncDirectory(join(this.#directory, "queues"));
    this.#identities.note(checkpoint.offset, checkpoint.segmentBytes, checkpoint.logStart);
    this.#file.write({ ...checkpoint, indexEnd: this.#index.endPhysicalOffset });
    writeRocketCheckpoint(this.#storage, this.#directory, request.filesTimestamp);
    this.#removeOldCatalogs(checkpoint.catalogFile);
    this.#queue.shift();
    return request;
  }

  close(): void {
    for (const file of this.#catalogs.values()) file.close();
    this.#catalogs.clear();
    this.#file.close();
  }

  /** Syncs one file or folder. True when all are. */
  #syncSome(progress: Progress): boolean {
    if (progress.files === null) {
      const { files, folders } = this.#pages.takeUnsynced();
      progress.files = files;
      progress.folders = folders;
    }
    const path = progress.files.pop();
    if (path !== undefined) {
      // Gone when its queue was dropped meanwhile.
      if (this.#storage.stat(path) !== undefined) {
        const file = this.#storage.open(path, "write");
        file.sync();
        file.close();
      }
      return false;
    }
    const folder = progress.folders.pop();
    if (folder === undefined) return true;
    if (this.#storage.stat(folder) !== undefined) this.#storage.syncDirectory(folder);
    return false;
  }

  #catalog(number: number): StorageFile {
    let file = this.#catalogs.get(number);
    if (file === undefined) {
      file = this.#storage.open(catalogPath(this.#directory, number), "create");
      this.#catalogs.set(number, file);
    }
    return file;
  }

  /** No checkpoint that counts names them any more. */
  #removeOldCatalogs(current: number): void {
    if (this.#syncedCatalog === current) return;
    this.#syncedCatalog = current;
    for (const { name } of this.#storage.list(join(this.#directory, "queues"))) {
      const number = /^catalog-(\d+)$/.exec(name)?.[1];
      if (number === undefined || Number(number) >= current) continue;
      this.#catalogs.get(Number(number))?.close();
      this.#catalogs.delete(Number(number));
      removeIfPossible(this.#storage, catalogPath(this.#directory, Number(number)));
    }
  }
}

/**
 * RocketMQ's own checkpoint, for its tools: 4096 bytes, big-endian longs. It takes the smallest, less 3 s, for the time
 * from which it reads the log again.
 *
 *   at  size  field
 *    0     8  physicMsgTimestamp   store time of the newest record that is durable
 *    8     8  logicsMsgTimestamp   ... that has its ConsumeQueue entry
 *   16     8  indexMsgTimestamp    ... that has its Index entries
 */
function writeRocketCheckpoint(storage: Storage, directory: string, timestamp: number): void {
  const bytes = Buffer.alloc(24);
  for (let at = 0; at < 24; at += 8) {
    bytes.writeInt32BE(Math.floor(timestamp / 2 ** 32), at);
    bytes.writeUInt32BE(timestamp >>> 0, at + 4);
  }
  const file = storage.open(join(directory, "checkpoint"), "create");
  if (file.size() < 4096) file.truncate(4096);
  file.write(bytes, 0, 24, 0);
  file.close();
}
