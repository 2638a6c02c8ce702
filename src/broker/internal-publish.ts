/** Publishing from inside the broker, without a producer: dead letters, delayed messages that are due, what is moved. */
import type { Draft } from "../model/draft.ts";
import { afterAppend } from "./admission.ts";
import type { Node } from "./node.ts";
import type { RecordTemplate } from "./record-composer.ts";
import { expiryOf, limitTtl, type TargetHost } from "./target.ts";

/** Appends a message to a node. Returns the position to confirm at. */
export function publishInternal(
  host: TargetHost,
  node: Node,
  template: RecordTemplate,
  draft: Draft,
  bornHost: Buffer,
): number {
  const { now } = host.turn;
  limitTtl(node, draft);
  const expiresAt = expiryOf(draft, now);
  const queue =
    node.kind === "queue" && draft.priority >= 0
      ? host.shardOfPriority(node, draft.priority)
      : node.shards[0]!;
  const offset = queue.maxOffset;
  if (expiresAt !== 0) node.noteExpiry(queue, offset, expiresAt);
  node.touch();
  if (draft.group !== "") node.noteKey(node.shards.indexOf(queue), offset + 1);
  const position = host.store.append(
    queue,
    host.composer.compose(template, draft, bornHost, now, expiresAt, null),
  );
  node.counters.published++;
  node.counters.publishedBytes += draft.end - draft.start;
  // What it is a copy of may come back as long as the copy can be lost: nobody may have taken the copy then.
  host.visibility.hold(queue, offset, position);
  if (!node.isPlain) afterAppend(node, queue, offset, draft, now, position, host);
  node.scheduleShard(queue);
  host.noteAppend(node.settings.level === "fsync");
  return position;
}
