/** `sluice delayed list` and `cancel`: messages that wait for their time. */
import type { Command } from "commander";
import type { DelayedPage, DelayedView } from "../broker/delayed.ts";
import { EXIT, StartError } from "../start-error.ts";
import { ApiClient, type ApiFlags } from "./api-client.ts";
import { withConfigFlags } from "./config-flags.ts";
import { formatTable } from "./table.ts";

interface DelayedFlags extends ApiFlags {
  readonly message?: string;
  readonly namespace?: string;
  readonly max?: string;
  readonly all?: boolean;
}

const PAGE = 1000;

export function addDelayedCommands(program: Command): void {
  const delayed = program
    .command("delayed")
    .description("messages that wait for their time of delivery");
  const command = (name: string, description: string): Command =>
    withConfigFlags(delayed.command(name))
      .description(description)
      .option("--message <id>", "the one with this message id")
      .option("--namespace <name>", "in this namespace")
      .option("--url <url>", "address of the broker's HTTP port");

  command("list [destination]", "list what waits, of a queue, of a topic, or all; soonest first")
    .option("--max <count>", "how many", "100")
    .option("--json", "print what the API says")
    .action(async (destination: string | undefined, flags: DelayedFlags) => {
      const client = await ApiClient.open(flags);
      const { messages, waiting } = await collect(client, destination, flags);
      if (flags.json === true) process.stdout.write(`${JSON.stringify(messages, null, 2)}\n`);
      else process.stdout.write(`${table(messages)}${waiting} waiting in all\n`);
    });

  command(
    "cancel [which]",
    "take messages back: the one of this number, or all of a queue, a topic or a message id",
  ).action(async (what: string | undefined, flags: DelayedFlags) => {
    if (what === undefined && flags.message === undefined) {
      throw new StartError(
        EXIT.BAD_CONFIGURATION,
        "name a number, a queue (queue:NAME), a topic (topic:NAME), or --message ID",
      );
    }
    const client = await ApiClient.open(flags);
    const isNumber = what !== undefined && /^\d+$/.test(what);
    const { cancelled } = await client.send<{ cancelled: number }>(
      "DELETE",
      isNumber ? `/api/delayed/${what}` : "/api/delayed",
      isNumber ? {} : queryOf(what, flags),
    );
    process.stdout.write(`${cancelled} messages taken back\n`);
  });
}

/** Pages until there are enough, or no more. */
async function collect(
  client: ApiClient,
  destination: string | undefined,
  flags: DelayedFlags,
): Promise<{ messages: DelayedView[]; waiting: number }> {
  const max = Number(flags.max ?? 100);
  const messages: DelayedView[] = [];
  let from = 0;
  for (;;) {
    const page: DelayedPage = await client.get("/api/delayed", {
      ...queryOf(destination, flags),
      from: String(from),
      max: String(Math.min(PAGE, max - messages.length)),
    });
    messages.push(...page.messages);
    if (page.next === null || messages.length >= max) {
      messages.sort((a, b) => a.dueAt - b.dueAt);
      return { messages, waiting: page.waiting };
    }
    from = page.next;
  }
}

function queryOf(destination: string | undefined, { message, namespace }: DelayedFlags) {
  const [, kind = "queue", name] = /^(?:(queue|topic):)?(.+)$/s.exec(destination ?? "") ?? [];
  return { ...(name === undefined ? {} : { [kind]: name }), message, namespace };
}

const table = (messages: readonly DelayedView[]): string =>
  formatTable(
    ["number", "due", "destination", "message id", "keys", "bytes"],
    messages.map((m) => [
      String(m.number),
      dateOf(m.dueAt),
      `${m.namespace === "/" ? "" : `//${m.namespace}/`}${m.kind}:${m.name}`,
      m.messageId,
      m.keys,
      m.size,
    ]),
  );

/** A time may be beyond what a calendar knows. */
const dateOf = (ms: number): string =>
  Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : String(ms);
