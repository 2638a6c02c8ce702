/**
 * What outlives a process: nodes and groups, transactions, sessions, policies, delays. Brought back from the opened store at
 * the start, and written as a snapshot that replaces the journal.
 */
import type { MessageStore, OpenReport, OwnerJournal } from "../store/message-store.ts";
import { dedupIdOf } from "./admission.ts";
import { CatalogWriter } from "./catalog.ts";
import type { DelayScheduler } from "./delay-scheduler.ts";
import { JournalReplay } from "./journal-replay.ts";
import type { NodeDirectory } from "./node-directory.ts";
import type { NodePolicies } from "./node-policies.ts";
import type { NodeRegistry } from "./node-registry.ts";
import type { ProgressJournal } from "./progress-journal.ts";
import type { SessionRegistry } from "./session-registry.ts";
import { SnapshotCollector } from "./snapshot-collector.ts";
import type { Subscriptions } from "./subscriptions.ts";
import type { TransactionLog } from "./transaction-log.ts";

export interface KeptParts {
  readonly store: MessageStore;
  readonly journal: ProgressJournal;
  readonly registry: NodeRegistry;
  readonly directory: NodeDirectory;
  readonly transactions: TransactionLog;
  readonly subscriptions: Subscriptions;
  readonly sessions: SessionRegistry;
  readonly policies: NodePolicies;
  readonly delays: DelayScheduler;
}

/** The order matters: progress before what transactions settled, nodes before what refers to them. */
export function restoreParts(parts: KeptParts, report: OpenReport): void {
  const { store, registry, directory, sessions } = parts;
  const isAsLeft = isAsSnapshotLeft(report);
  const replay = new JournalReplay();
  store.journal.replay((bytes) => replay.apply(bytes));
  const { image } = replay;
  registry.restore(replay, isAsLeft ? null : report.changed);
  parts.transactions.recover(image.state, registry);
  parts.subscriptions.restore();
  sessions.restore(image.state);
  for (const node of registry.awake()) {
    parts.policies.restore(node);
    if (node.kind === "topic") node.touch();
  }
  const redoneFrom = store.watermarks.appended - report.scannedBytes;
  parts.delays.restore(redoneFrom, (to, view, position) => {
    const id = dedupIdOf(view);
    if (id === undefined) return;
    directory.known(to)?.duplicates?.add(id, view.storeTimestamp, position);
  });
}

/** Nothing in the log is newer than what the last snapshot of the journal knows. */
export const isAsSnapshotLeft = ({ wasClean, changed }: OpenReport): boolean =>
  wasClean && changed.length === 0;

const LEAST_BYTES = 16 << 20;
const MOST_BYTES = 64 << 20;
const TIMES_SNAPSHOT = 16;

/**
 * Is the journal worth rewriting as a snapshot? A start reads all of it: so once there is this much, unless it amounts to so
 * much more that writing that often would cost more than it saves (with 10,000 busy queues and a quarter of these bytes, a
 * third of the event loop); and in any case before there is too much.
 */
export const isSnapshotWorth = ({
  bytesSinceSnapshot,
  snapshotBytes,
}: Pick<OwnerJournal, "bytesSinceSnapshot" | "snapshotBytes">): boolean =>
  bytesSinceSnapshot > Math.min(MOST_BYTES, Math.max(LEAST_BYTES, snapshotBytes * TIMES_SNAPSHOT));

/** The journal as what it amounts to, in steps between which the broker goes on. A newer one replaces one not finished. */
export function* snapshotSteps(parts: KeptParts): Generator<void> {
  const { store, journal } = parts;
  const collector = new SnapshotCollector();
  journal.collector = collector;
  const catalog = new CatalogWriter(collector.state);
  yield* parts.registry.writeSnapshot(catalog);
  parts.transactions.writeSnapshot(catalog);
  yield* parts.sessions.writeSnapshot(catalog);
  if (journal.collector !== collector) return;
  journal.collector = null;
  store.journal.snapshot(collector.entries());
}
