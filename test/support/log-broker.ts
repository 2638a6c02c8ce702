/** The real broker over the real store, both of its threads on this one, on any Storage: for crashes at chosen places. */
import { Broker } from "../../src/broker/broker.ts";
import { DEFAULT_SETTINGS, type NodeSettings, type Policy } from "../../src/broker/policy.ts";
import { ALLOW_ALL } from "../../src/security/authorizer.ts";
import { compileSelector } from "../../src/selector/selector.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import type { MessageStore } from "../../src/store/message-store.ts";
import type { Storage } from "../../src/store/storage-file.ts";
import type { InlineSchedule } from "../../src/store/writer-link.ts";
import { SILENT } from "../../src/telemetry/log.ts";
import { type Clock, Turn } from "../../src/util/turn.ts";
import { settle } from "./test-client.ts";

export interface LogBrokerOptions {
  readonly settings?: Partial<NodeSettings>;
  readonly policies?: readonly Policy[];
  readonly schedule?: InlineSchedule;
  readonly segmentBytes?: number;
  readonly ringBytes?: number;
  readonly clock?: Clock;
  readonly keepAwake?: number;
}

export function makeBroker(store: MessageStore, options: LogBrokerOptions = {}): Broker {
  const settings = { ...DEFAULT_SETTINGS, ...options.settings };
  return new Broker(store, new Turn(options.clock), {
    nodeName: "test",
    version: "0.0.0",
    limits: { maxMessageBytes: 1 << 26, maxLinksPerSession: 1024, maxSessionsPerConnection: 2047 },
    queueDefaults: settings,
    topicDefaults: settings,
    policies: options.policies ?? [],
    autoCreate: true,
    compileSelector,
    authorizer: ALLOW_ALL,
    logger: SILENT,
    ...(options.keepAwake === undefined ? {} : { keepAwake: options.keepAwake }),
  });
}

export function makeStore(disk: Storage, options: LogBrokerOptions = {}): CommitLogStore {
  return new CommitLogStore({
    directory: "/data",
    segmentBytes: options.segmentBytes ?? 1 << 20,
    ringBytes: options.ringBytes ?? 1 << 16,
    sideBytes: 1 << 22,
    queuePages: 64,
    minFreeBytes: 0,
    tickMs: 0,
    reclaim: { surveyMs: 0, patienceMs: 0, restMs: 0 },
    inlineOn: disk,
    ...(options.schedule === undefined ? {} : { inlineSchedule: options.schedule }),
  });
}

export async function openLogBroker(
  disk: Storage,
  options: LogBrokerOptions = {},
): Promise<{ broker: Broker; store: CommitLogStore }> {
  const store = makeStore(disk, options);
  const broker = makeBroker(store, options);
  await broker.open();
  return { broker, store };
}

/** Cut off without a word: whatever still runs finds a store that takes nothing any more. */
export async function crash(broker: Broker): Promise<void> {
  await settle();
  Object.assign(broker.store, { publish() {}, trim() {}, dropQueue() {}, close: async () => {} });
  broker.sessions.close();
}

/** Every file below `folder`; `edit` may change the bytes on the way. */
export function copyFiles(
  from: Storage,
  to: Storage,
  folder: string,
  edit: (path: string, bytes: Buffer) => Buffer = (_, bytes) => bytes,
): void {
  to.makeDirectory(folder);
  for (const { name, isDirectory } of from.list(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) {
      copyFiles(from, to, path, edit);
      continue;
    }
    const source = from.open(path, "read");
    const bytes = Buffer.alloc(source.size());
    source.readInto(bytes, 0, bytes.length, 0);
    source.close();
    const edited = edit(path, bytes);
    const target = to.open(path, "create");
    target.truncate(0);
    if (edited.length > 0) target.write(edited, 0, edited.length, 0);
    target.close();
  }
}
