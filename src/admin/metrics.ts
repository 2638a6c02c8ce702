/** What the broker tells Prometheus, and where each figure is read. */
import { performance } from "node:perf_hooks";
import type { Inspection, NodeSums, Overview } from "../broker/inspect.ts";
import type { NodeView } from "../broker/node-views.ts";
import type { Outcomes } from "../broker/tally.ts";
import {
  CardinalityGuard,
  createRegistry,
  labelText,
  type MetricDefinition,
  type Sample,
} from "../telemetry/metrics.ts";
import type { AdminSources } from "./sources.ts";

export interface MetricsText {
  readonly contentType: string;
  text(): Promise<string>;
}

const NODE_LABELS = ["kind", "namespace", "name"] as const;

const NODE_COUNTERS = {
  published: "Messages taken",
  publishedBytes: "Bytes of messages taken",
  delivered: "Deliveries sent",
  accepted: "Deliveries settled as done",
  redelivered: "Deliveries of messages that were delivered before",
  deadLettered: "Messages moved to a dead-letter queue",
  dropped: "Messages dropped; why is in sluice_dropped_total",
  expired: "Messages that outlived their time to live",
  rejected: "Messages refused because of a limit; which is in sluice_refused_total",
  duplicates: "Messages not stored because their id was known",
} as const;

const NODE_GAUGES = {
  backlog: "Messages owed, by the group that owes most",
  ready: "Messages waiting for a consumer",
  unsettled: "Messages delivered and not settled",
  consumers: "Consumers",
  producers: "Producers",
} as const;

const QUOTAS = ["connections", "destinations", "messages", "bytes"] as const;

const snakeCase = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

export function createMetrics(sources: AdminSources, destinationsMax: number): MetricsText {
  const snapshot = new Snapshot(sources.inspection, destinationsMax);
  const { transport, logins } = sources;
  const overview = (read: (overview: Overview) => number) => () => read(snapshot.overview);
  const byReason = (name: string, help: string, of: keyof Outcomes): MetricDefinition => ({
    name,
    help,
    labels: ["reason"],
    read: () =>
      Object.entries(snapshot.overview.outcomes[of]).map(([reason, value]) => ({
        labels: { reason },
        value,
      })),
  });
  const definitions: MetricDefinition[] = [
    {
      name: "info",
      help: "Version and name of this broker",
      labels: ["version", "node"],
      read: () => [
        { labels: { version: snapshot.overview.version, node: snapshot.overview.node }, value: 1 },
      ],
    },
    {
      name: "uptime_seconds",
      help: "Time since the start",
      read: overview((o) => o.uptimeMs / 1000),
    },
    {
      name: "connections",
      help: "Clients that are logged in",
      labels: ["protocol"],
      read: () => countBy(sources.inspection.connections().map(({ protocol }) => protocol)),
    },
    { name: "sockets", help: "Open sockets", read: () => transport.counts.total },
    {
      name: "sockets_accepted_total",
      help: "Sockets accepted",
      read: () => transport.counts.accepted,
    },
    {
      name: "sockets_refused_total",
      help: "Sockets refused because of a limit",
      read: () => transport.counts.refused,
    },
    { name: "received_bytes_total", help: "Bytes read", read: () => transport.traffic().received },
    { name: "sent_bytes_total", help: "Bytes written", read: () => transport.traffic().sent },
    { name: "logins_total", help: "Logins that were right", read: () => logins.successes },
    {
      name: "logins_held_total",
      help: "Logins that had to wait for others of their address",
      read: () => logins.held,
    },
    { name: "logins_failed_total", help: "Logins that were refused", read: () => logins.failures },
    { name: "consumers", help: "Consumers", read: overview((o) => o.consumers) },
    { name: "queues", help: "Queues", read: overview((o) => o.queues) },
    { name: "topics", help: "Topics", read: overview((o) => o.topics) },
    { name: "groups", help: "Consumer groups and subscriptions", read: overview((o) => o.groups) },
    { name: "sessions", help: "MQTT sessions", read: overview((o) => o.sessions) },
    { name: "retained_messages", help: "Retained messages", read: overview((o) => o.retained) },
    {
      name: "delayed_messages",
      help: "Messages that wait for their time",
      read: overview((o) => o.delayed),
    },
    {
      name: "quota_refusals_total",
      help: "What was refused because a quota was used up",
      labels: ["quota"],
      read: () =>
        QUOTAS.map((quota) => ({ labels: { quota }, value: sources.quotas.figures[quota] })),
    },
    byReason("dropped_total", "Messages dropped", "dropped"),
    byReason("dead_lettered_total", "Messages moved to a dead-letter queue", "deadLettered"),
    byReason("refused_total", "Messages, links and connections refused", "refused"),
    {
      name: "connections_held_back",
      help: "Connections that are not read from because they publish faster than they may",
      read: () => sources.quotas.waiting,
    },
    {
      name: "publishing_blocked",
      help: "1 while publishing is held back",
      read: overview((o) => (o.blocked === null ? 0 : 1)),
    },
    {
      name: "store_writable",
      help: "1 while the store takes messages",
      read: overview((o) => (o.store === "ok" ? 1 : 0)),
    },
    {
      name: "log_appended_bytes_total",
      help: "End of the log",
      read: overview((o) => o.log.appended),
    },
    {
      name: "log_written_bytes_total",
      help: "End of what the kernel has of the log",
      read: overview((o) => o.log.written),
    },
    {
      name: "log_durable_bytes_total",
      help: "End of what is synced of the log",
      read: overview((o) => o.log.durable),
    },
    {
      name: "log_start_bytes_total",
      help: "Beginning of the log: everything before was removed",
      read: overview((o) => o.reclaimed?.logStart ?? 0),
    },
    {
      name: "log_surveyed_bytes",
      help: "Length of the full segments at the last survey",
      read: overview((o) => Math.max(0, o.reclaimed?.surveyedBytes ?? 0)),
    },
    {
      name: "log_owed_bytes",
      help: "Bytes in full segments that are owed to somebody, at the last survey",
      read: overview((o) => Math.max(0, o.reclaimed?.owedBytes ?? 0)),
    },
    {
      name: "log_moved_records_total",
      help: "Records moved out of segments of which little was owed",
      read: overview((o) => o.reclaimed?.movedRecords ?? 0),
    },
    {
      name: "log_moved_bytes_total",
      help: "Bytes of those records",
      read: overview((o) => o.reclaimed?.movedBytes ?? 0),
    },
    {
      name: "process_resident_bytes",
      help: "Resident memory",
      read: () => process.memoryUsage.rss(),
    },
    {
      name: "process_cpu_seconds_total",
      help: "CPU time of all threads",
      read: () => {
        const { user, system } = process.cpuUsage();
        return (user + system) / 1e6;
      },
    },
    {
      name: "event_loop_utilization",
      help: "Share of time the main event loop was busy since the last scrape",
      read: () => snapshot.eventLoopUtilization(),
    },
    {
      name: "input_kept_bytes",
      help: "Partly received large frames",
      read: () => transport.keptBytes(),
    },
  ];
  for (const [field, help] of Object.entries(NODE_COUNTERS)) {
    definitions.push({
      name: `destination_${snakeCase(field)}_total`,
      help,
      labels: NODE_LABELS,
      read: () => {
        const name = field as keyof typeof NODE_COUNTERS;
        return snapshot.perNode(
          (node) => node.counters[name],
          (sums) => sums.counters[name],
        );
      },
    });
  }
  for (const [field, help] of Object.entries(NODE_GAUGES)) {
    definitions.push({
      name: `destination_${field}`,
      help,
      labels: NODE_LABELS,
      // What waits where nobody uses it is ready; nothing there is unsettled, and nobody is there.
      read: () =>
        snapshot.perNode(
          (node) => node[field as keyof typeof NODE_GAUGES],
          (sums) => (field === "backlog" || field === "ready" ? sums.backlog : 0),
        ),
    });
  }
  const registry = createRegistry(definitions);
  return {
    contentType: registry.contentType,
    text: () => {
      snapshot.refresh();
      return registry.metrics();
    },
  };
}

/** One look at the broker for all metrics of a scrape. */
class Snapshot {
  readonly #inspection: Inspection;
  readonly #guard: CardinalityGuard<NodeView>;
  #overview: Overview;
  #own: readonly NodeView[] = [];
  #rest: readonly NodeView[] = [];
  /** Sums over queues and topics that nobody uses just now. */
  #resting: Readonly<Record<"queue" | "topic", NodeSums>> | null = null;
  readonly #max: number;
  #utilization = performance.eventLoopUtilization();

  constructor(inspection: Inspection, destinationsMax: number) {
    this.#inspection = inspection;
    this.#max = destinationsMax;
    this.#overview = inspection.overview();
    this.#guard = new CardinalityGuard(
      destinationsMax,
      (node) => node.address,
      (node) => node.counters.published + node.counters.delivered + node.backlog,
    );
  }

  refresh(): void {
    this.#overview = this.#inspection.overview();
    const { nodes, rest: resting } = this.#inspection.busyNodes(this.#wanted());
    this.#resting = resting;
    // Temporary ones come and go by the thousand: never series of their own.
    const lasting = nodes.filter(({ isTemporary }) => !isTemporary);
    const { own, rest } = this.#guard.split(lasting);
    this.#own = own;
    this.#rest = [...rest, ...nodes.filter(({ isTemporary }) => isTemporary)];
  }

  /** Series of their own stay while nobody uses their destination; where there is room, everything has one. */
  #wanted(): readonly NodeView[] {
    if (this.#inspection.nodeCount > this.#max) return this.#own;
    const page = { max: this.#max };
    return [
      ...this.#inspection.nodes("queue", page).items,
      ...this.#inspection.nodes("topic", page).items,
    ];
  }

  get overview(): Overview {
    return this.#overview;
  }

  eventLoopUtilization(): number {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#utilization);
    this.#utilization = now;
    return utilization;
  }

  *perNode(
    read: (node: NodeView) => number,
    readSums: (sums: NodeSums) => number,
  ): Generator<Sample> {
    for (const node of this.#own) {
      const { kind, namespace, name } = node;
      const labels = { kind, namespace: labelText(namespace), name: labelText(name) };
      yield { labels, value: read(node) };
    }
    for (const kind of ["queue", "topic"] as const) {
      const others = this.#rest.filter((node) => node.kind === kind);
      const resting = this.#resting?.[kind];
      if (others.length === 0 && (resting?.nodes ?? 0) === 0) continue;
      const sum = others.reduce((sum, node) => sum + read(node), 0);
      const value = sum + (resting === undefined ? 0 : readSums(resting));
      yield { labels: { kind, namespace: "", name: "other" }, value };
    }
  }
}

function countBy(names: readonly string[]): Sample[] {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([protocol, value]) => ({ labels: { protocol }, value }));
}
