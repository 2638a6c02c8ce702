/** `sluice status`, `top`, `queues`, `topics`, `groups`, `consumers`, `connections`, `browse`: looking at a running broker. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import type { ConnectionView, ConsumerView, MessageView, Overview } from "../broker/inspect.ts";
import type { GroupView, NodeView } from "../broker/node-views.ts";
import { EXIT, StartError } from "../start-error.ts";
import { ApiClient, type ApiFlags } from "./api-client.ts";
import { withConfigFlags } from "./config-flags.ts";
import { destinationPath } from "./destination.ts";
import { LineOutput } from "./output.ts";
import { type Cell, formatBytes, formatDuration, formatTable } from "./table.ts";

export function addLookCommands(program: Command): void {
  const look = (name: string, description: string): Command =>
    withConfigFlags(program.command(name))
      .description(description)
      .option("--url <url>", "address of the broker's HTTP port")
      .option("--json", "print what the API says");

  look("status", "one page about the broker").action(async (flags: ApiFlags) => {
    const overview = await (await ApiClient.open(flags)).get<Overview>("/api/overview");
    print(flags, overview, () => statusPage(overview));
  });

  look("top", "queues and topics by what happens there, again every two seconds")
    .option("--once", "print once, after one interval")
    .option("--interval <seconds>", "seconds between two looks", "2")
    .action(async (flags: ApiFlags & { once?: boolean; interval: string }) => {
      const seconds = Number(flags.interval);
      if (!(seconds >= 0.2 && seconds <= 86_400)) {
        throw new StartError(
          EXIT.BAD_CONFIGURATION,
          `--interval ${flags.interval}: expected seconds from 0.2 to 86400`,
        );
      }
      await top(flags, seconds * 1000);
    });

  for (const kind of ["queues", "topics"] as const) {
    look(kind, `list ${kind}, in the order they were made`)
      .option("--all", "temporary ones too")
      .option("--name <start>", "only those whose names begin so")
      .option("--active", "only those in use, or lately")
      .option("--max <count>", `at most so many; without --json ${ROWS_MAX} unless said`)
      .action((flags: NodeFlags) => listNodes(kind, flags));
  }

  look("groups", "list consumer groups and subscriptions").action(async (flags: ApiFlags) => {
    const groups = await (await ApiClient.open(flags)).list<GroupView>("/api/groups");
    const shown = groups.filter(({ name }) => name !== "");
    print(flags, shown, () =>
      formatTable(
        ["destination", "group", "members", "backlog", "unsettled", "filter"],
        shown.map((g) => [
          g.node,
          g.name,
          g.members,
          g.backlog,
          g.unsettled,
          [g.path, g.tags, g.selector].filter((text) => text !== "").join(" "),
        ]),
      ),
    );
  });

  look("consumers", "list consumers").action(async (flags: ApiFlags) => {
    const consumers = await (await ApiClient.open(flags)).list<ConsumerView>("/api/consumers");
    print(flags, consumers, () =>
      formatTable(
        ["id", "connection", "source", "group", "credit", "unsettled", "delivered"],
        consumers.map((c) => [
          c.id,
          c.connection,
          c.address,
          c.group,
          c.credit === null ? "unlimited" : String(c.credit),
          c.unsettled,
          c.delivered,
        ]),
      ),
    );
  });

  look("connections", "list connections").action(async (flags: ApiFlags) => {
    const connections = await (await ApiClient.open(flags)).list<ConnectionView>(
      "/api/connections",
    );
    print(flags, connections, () =>
      formatTable(
        ["id", "protocol", "peer", "user", "client id", "since", "producers", "consumers"],
        connections.map((c) => [
          c.id,
          c.protocol,
          c.remote,
          c.user,
          c.clientId,
          formatDuration(Date.now() - c.connectedAt),
          c.producers,
          c.consumers,
        ]),
      ),
    );
  });

  look("browse", "look at messages without consuming them")
    .argument("<destination>", "queue name, or queue:NAME or topic:NAME")
    .option("--from <offset>", "first offset; default: the first that somebody is owed")
    .option("--max <count>", "how many", "20")
    .option("--shard <number>", "only this shard")
    .option("--offset <offset>", "the one message there")
    .option("--key <text>", "messages with this key or unique id")
    .option("--settled", "also those that everybody is done with")
    .action(async (destination: string, flags: ApiFlags & Record<string, string | boolean>) => {
      const text = (key: string): string | undefined =>
        typeof flags[key] === "string" ? (flags[key] as string) : undefined;
      const messages = await (await ApiClient.open(flags)).get<MessageView[]>(
        `${destinationPath(destination)}/messages`,
        {
          from: text("from"),
          max: text("max"),
          shard: text("shard"),
          offset: text("offset"),
          key: text("key"),
          settled: flags["settled"] === true ? "true" : undefined,
        },
      );
      print(flags, messages, () => messages.map(messagePage).join("\n"));
      if (messages.length === 0 && flags.json !== true) {
        const hint =
          flags["settled"] === true ? "" : "; --settled shows what everybody is done with";
        process.stderr.write(`sluice: no message in ${destination}${hint}\n`);
      }
    });
}

interface NodeFlags extends ApiFlags {
  readonly all?: boolean;
  readonly name?: string;
  readonly active?: boolean;
  readonly max?: string;
}

/** More rows than this nobody reads. */
const ROWS_MAX = 1000;

async function listNodes(kind: "queues" | "topics", flags: NodeFlags): Promise<void> {
  const max = countOf(flags.max, "--max");
  const most = max ?? (flags.json === true ? Number.POSITIVE_INFINITY : ROWS_MAX);
  const client = await ApiClient.open(flags);
  const output = new LineOutput();
  const rows: NodeView[] = [];
  let count = 0;
  let isMore = false;
  for await (const page of client.pages<NodeView>(`/api/${kind}`, {
    prefix: flags.name,
    active: flags.active === true ? "true" : undefined,
    max: String(Math.min(most + 1, ROWS_MAX)),
  })) {
    for (const node of page) {
      if (node.isTemporary && flags.all !== true) continue;
      if (count === most) {
        isMore = true;
        break;
      }
      if (flags.json === true) output.line(`${count === 0 ? "[" : ","}${JSON.stringify(node)}`);
      else rows.push(node);
      count++;
    }
    if (isMore) break;
  }
  if (flags.json === true) output.line(count === 0 ? "[]" : "]");
  else process.stdout.write(nodeTable(rows));
  output.flush();
  if (isMore) {
    process.stderr.write(`sluice: the first ${most} ${kind}; more with --max, fewer with --name\n`);
  }
}

function countOf(text: string | undefined, flag: string): number | undefined {
  if (text === undefined) return undefined;
  const count = Number(text);
  if (Number.isSafeInteger(count) && count > 0) return count;
  throw new StartError(EXIT.BAD_CONFIGURATION, `${flag} ${text}: expected a whole number above 0`);
}

function print(flags: ApiFlags, value: unknown, page: () => string): void {
  process.stdout.write(flags.json === true ? `${JSON.stringify(value, null, 2)}\n` : page());
}

function statusPage(o: Overview): string {
  const rows: Array<[string, Cell]> = [
    ["node", `${o.node}, version ${o.version}, up ${formatDuration(o.uptimeMs)}`],
    ["store", o.store === "ok" ? "ok" : `${o.store}: nothing more is taken`],
    ["publishing", o.blocked === null ? "open" : `held back: ${o.blocked}`],
    ["connections", o.connections],
    ["consumers", o.consumers],
    ["queues, topics, groups", `${o.queues}, ${o.topics}, ${o.groups}`],
    ["waiting for their time", o.delayed],
    ["MQTT sessions, retained", `${o.sessions}, ${o.retained}`],
    ["messages in", `${o.counters.published} (${formatBytes(o.counters.publishedBytes)})`],
    ["deliveries, accepted", `${o.counters.delivered}, ${o.counters.accepted}`],
    [
      "dead, expired, dropped",
      `${o.counters.deadLettered}, ${o.counters.expired}, ${o.counters.dropped}`,
    ],
    [
      "log",
      `${formatBytes(o.log.appended)}, not yet synced ${formatBytes(o.log.appended - o.log.durable)}`,
    ],
  ];
  for (const [what, title] of [
    ["dropped", "dropped"],
    ["deadLettered", "dead letters"],
    ["refused", "refused"],
  ] as const) {
    for (const [reason, count] of Object.entries(o.outcomes[what])) {
      if (count > 0) rows.push([`${title}: ${reason.replaceAll("_", " ")}`, count]);
    }
  }
  return rows.map(([name, value]) => `${name.padEnd(24)} ${value}\n`).join("");
}

function nodeTable(nodes: readonly NodeView[]): string {
  return formatTable(
    ["name", "backlog", "ready", "unsettled", "consumers", "producers", "in", "out", "dead"],
    nodes.map((n) => [
      n.namespace === "/" ? n.name : `//${n.namespace}/${n.name}`,
      n.backlog,
      n.ready,
      n.unsettled,
      n.consumers,
      n.producers,
      n.counters.published,
      n.counters.delivered,
      n.counters.deadLettered,
    ]),
  );
}

async function top(flags: ApiFlags & { once?: boolean }, intervalMs: number): Promise<void> {
  const client = await ApiClient.open(flags);
  const look = async () => ({
    at: performance.now(),
    overview: await client.get<Overview>("/api/overview"),
    nodes: [
      // Nothing happens at the others, however many there are.
      ...(await client.list<NodeView>("/api/queues", { active: "true" })),
      ...(await client.list<NodeView>("/api/topics", { active: "true" })),
    ],
  });
  let before = await look();
  for (;;) {
    await sleep(intervalMs);
    const now = await look();
    const seconds = (now.at - before.at) / 1000;
    const earlier = new Map(before.nodes.map((node) => [node.address, node]));
    const rates = now.nodes
      .map((node) => {
        const old = earlier.get(node.address)?.counters ?? ZERO;
        const rate = (name: "published" | "delivered" | "accepted"): number =>
          Math.round((node.counters[name] - old[name]) / seconds);
        return { node, in: rate("published"), out: rate("delivered"), done: rate("accepted") };
      })
      .sort((a, b) => b.in + b.out - (a.in + a.out) || b.node.backlog - a.node.backlog)
      .slice(0, (process.stdout.rows ?? 30) - 5);
    if (flags.json === true) process.stdout.write(`${JSON.stringify(rates)}\n`);
    else {
      const clear = flags.once === true || !process.stdout.isTTY ? "" : "\x1b[H\x1b[2J";
      const { connections, consumers, blocked } = now.overview;
      process.stdout.write(
        `${clear}${connections} connections, ${consumers} consumers${blocked === null ? "" : `, publishing held back: ${blocked}`}\n\n${formatTable(
          ["destination", "in/s", "out/s", "settled/s", "backlog", "unsettled", "consumers"],
          rates.map(({ node, in: incoming, out, done }) => [
            node.address,
            incoming,
            out,
            done,
            node.backlog,
            node.unsettled,
            node.consumers,
          ]),
        )}`,
      );
    }
    if (flags.once === true) return;
    before = now;
  }
}

const ZERO = { published: 0, delivered: 0, accepted: 0 };

function messagePage(m: MessageView): string {
  const states = m.states.map(({ group, state, failed }) => {
    const attempts = failed > 0 ? `, ${failed} failed` : "";
    return `${group === "" ? "" : `${group}: `}${state}${attempts}`;
  });
  const head = `offset ${m.offset} in shard ${m.queueId}, ${m.bodyBytes} bytes (${m.encoding || "foreign"}), stored ${new Date(m.storedAt).toISOString()}, ${states.join("; ") || "no group"}\n`;
  const properties = m.properties.map(([name, value]) => `  ${clean(name)}: ${clean(value)}\n`);
  return head + properties.join("") + bodyText(m);
}

const clean = (text: string): string => text.replace(/\p{C}/gu, "\u00b7");

/** Text as text, anything else in hex; the first lines. */
function bodyText({ bodyBase64, bodyBytes }: MessageView): string {
  const bytes = Buffer.from(bodyBase64, "base64");
  const shown = bytes.subarray(0, 512);
  const text = shown.toString("utf8");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they tell text from anything else
  const isText = !/[\u0000-\u0008\u000e-\u001f\ufffd]/.test(text);
  const more = bodyBytes > shown.length ? ` … ${bodyBytes - shown.length} more bytes` : "";
  return `  ${isText ? clean(text) : shown.toString("hex")}${more}\n`;
}
