/** Opens consumers: which node and group a request means, what it filters, and who may be there at the same time. */
import { isTopicKind } from "../model/address.ts";
import { entryBatch } from "../model/entry-batch.ts";
import { BrokerError } from "../model/errors.ts";
import { RecordView } from "../model/record-view.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import type { Connection } from "./connection.ts";
import { Consumer, type ConsumerHost } from "./consumer.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import type { ConsumerRequest, DeliverySink, StartPosition } from "./facade.ts";
import type { MessageFilter } from "./filter.ts";
import { ownGroupSettings } from "./group-settings.ts";
import type { JointGroups } from "./joint-groups.ts";
import type { Node } from "./node.ts";
import { cancelMembers, type NodeDirectory } from "./node-directory.ts";
import type { NodeRegistry } from "./node-registry.ts";
import { readOne } from "./read-one.ts";
import { hasOneRoot, type Subscriptions } from "./subscriptions.ts";
import type { Visibility } from "./visibility.ts";

/** So many places are looked at for the last message of a topic. */
const LOOK_BACK = 1000;

export interface ConsumerOpenerHost extends ConsumerHost {
  readonly registry: NodeRegistry;
  readonly directory: NodeDirectory;
  readonly subscriptions: Subscriptions;
  readonly sessions: { readonly joint: JointGroups };
  readonly visibility: Visibility;
  nextConsumerId(): number;
  /** What was written to the journal so far is durable once `settledTo` is here; 0 when it is. */
  notedPosition(): number;
}

export class ConsumerOpener {
  readonly #host: ConsumerOpenerHost;

  constructor(host: ConsumerOpenerHost) {
    this.#host = host;
  }

  open(connection: Connection, request: ConsumerRequest, sink: DeliverySink): Consumer {
    const { address } = request;
    const isWild = isTopicKind(address.kind) && !hasOneRoot(address);
    const node = isWild ? null : this.#nodeFor(connection, request);
    if (isWild) connection.demand("receive", address);
    const isQueue = node?.kind === "queue";
    const group = isQueue
      ? node.ownGroup
      : (this.#host.sessions.joint.groupFor(request) ??
        this.#host.subscriptions.groupFor(
          node ?? address.namespace,
          address.name,
          request,
          connection.clientId,
          (stolen) => cancelMembers(stolen, stolenReason(stolen)),
        ));
    checkExclusive(group, request);
    // Of a subscription that joined a group it is told what it is, not what the group is.
    const identity = request.subscription ?? group.settings.identity;
    const isDurable = identity?.isDurable ?? (isQueue || group.isDurable);
    const consumer = new Consumer(
      {
        id: this.#host.nextConsumerId(),
        address: { ...address, kind: node?.address.kind ?? "topic" },
        info: {
          kind: isQueue ? "queue" : "topic",
          isDurable,
          isShared: identity?.isShared ?? false,
          tags: request.tags ?? address.tags,
          selector: request.selector ?? "",
          noLocal: !isQueue && (request.noLocal ?? false),
          durableAt: isDurable && !isQueue ? this.#host.notedPosition() : 0,
        },
        group,
        sink,
        isPreSettled: request.preSettled || request.mode === "browse",
        isBrowser: request.mode === "browse",
        isExclusive: request.isExclusive ?? false,
        priority: request.priority ?? 0,
        filter: isQueue ? this.#queueFilter(request) : null,
        connectionId: connection.id,
        onLost: request.onLost,
      },
      this.#host,
    );
    if (consumer.isBrowser) this.#placeBrowser(consumer);
    else group.add(consumer);
    return consumer;
  }

  #nodeFor(connection: Connection, { address, mode }: ConsumerRequest): Node {
    const node = this.#host.directory.nodeFor(connection, address, false);
    connection.demand(mode === "browse" ? "browse" : "receive", {
      ...node.address,
      name: node.kind === "topic" ? address.name : node.address.name,
    });
    if (node.isTemporary && node.owner !== connection) {
      throw new BrokerError(
        "resource-locked",
        `temporary ${node.kind} '${node.address.name}' may be consumed only by the connection that made it`,
      );
    }
    return node;
  }

  /** A browser sees what is there now: from the first message owed to the end as it is. */
  #placeBrowser(consumer: Consumer): void {
    consumer.group.browserCount++;
    for (const shard of consumer.group.shards) {
      consumer.scan[shard.index] = shard.state.low;
      consumer.scanEnd[shard.index] = this.#host.visibility.endOf(shard.queue);
    }
  }

  #queueFilter(request: ConsumerRequest): MessageFilter | null {
    const tags = request.tags ?? request.address.tags;
    const selector = request.selector ?? "";
    if (tags === "" && selector === "") return null;
    return this.#host.registry.groups.filterOf({ ...ownGroupSettings(false), tags, selector }, "");
  }
}

const stolenReason = (group: ConsumerGroup): BrokerError =>
  new BrokerError(
    "link-stolen",
    `subscription '${group.settings.identity?.name ?? group.name}' was opened by another link`,
  );

function checkExclusive(group: ConsumerGroup, request: ConsumerRequest): void {
  if (request.mode === "browse") return;
  const holder = group.members.find((member) => member.isExclusive);
  if (holder === undefined && !(request.isExclusive === true && group.members.length > 0)) return;
  const { kind, address } = group.node;
  throw new BrokerError(
    "resource-locked",
    holder !== undefined
      ? `${kind} '${address.name}' has an exclusive consumer`
      : `${kind} '${address.name}' has ${group.members.length} consumer(s): an exclusive one must be the only one`,
  );
}

/** Where a new reader of a topic begins. */
export function positionOf(
  store: MessageStore,
  node: Node,
  from: StartPosition,
): "first" | "next" | number[] {
  switch (from.kind) {
    case "first":
      return "first";
    case "next":
      return "next";
    case "last":
      return node.shards.map((queue) => lastOf(store, queue));
    case "offset":
      return node.shards.map(() => from.offset);
    case "time":
      return node.shards.map((queue) => store.searchByTime(queue, from.timestampMs));
    default: {
      const never: never = from;
      throw new Error(`unknown position ${String(never)}`);
    }
  }
}

/** The newest message that is there: after a crash, places behind it may be of messages that were never safe. */
function lastOf(store: MessageStore, queue: StoreQueue): number {
  const end = Math.max(queue.minOffset, queue.maxOffset - 1);
  const entry = entryBatch();
  const view = new RecordView();
  const least = Math.max(queue.minOffset, end - LOOK_BACK);
  for (let at = end; at >= least; at--) {
    if (readOne(store, store, queue, at, entry, view)) return at;
    // The disk refuses to give it for now.
    if (entry.physicalOffset[0]! >= 0 && store.isUnreadable(entry.physicalOffset[0]!)) return at;
  }
  return end;
}
