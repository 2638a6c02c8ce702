/** `sluice purge`, `delete`, `move`, `disconnect`: what an operator does to a running broker. */
import type { Command } from "commander";
import { type ReloadReport, reloadMessage } from "../reload.ts";
import { ApiClient, type ApiFlags } from "./api-client.ts";
import { withConfigFlags } from "./config-flags.ts";
import { destinationPath } from "./destination.ts";

export function addChangeCommands(program: Command): void {
  const change = (name: string, description: string): Command =>
    withConfigFlags(program.command(name))
      .description(description)
      .option("--url <url>", "address of the broker's HTTP port");

  change("purge <destination>", "drop the waiting messages of a queue, or of a group of a topic")
    .option("--group <name>", "the group or subscription; a queue has just one")
    .action(async (destination: string, flags: ApiFlags & { group?: string }) => {
      const client = await ApiClient.open(flags);
      const { purged } = await client.send<{ purged: number }>(
        "POST",
        `${destinationPath(destination)}/purge`,
        { group: flags.group },
      );
      process.stdout.write(`${purged} messages dropped\n`);
    });

  change("delete <destination>", "delete a queue or topic with its messages")
    .option("--if-empty", "refuse while messages wait")
    .option("--if-unused", "refuse while somebody consumes")
    .action(async (destination: string, flags: ApiFlags & { ifEmpty?: true; ifUnused?: true }) => {
      const client = await ApiClient.open(flags);
      await client.send("DELETE", destinationPath(destination), {
        ifEmpty: flags.ifEmpty && "true",
        ifUnused: flags.ifUnused && "true",
      });
      process.stdout.write(`${destination} is deleted\n`);
    });

  change("move <queue> [to]", "move waiting messages to another queue, or dead letters back")
    .option("--max <count>", "at most so many")
    .action(async (queue: string, to: string | undefined, flags: ApiFlags & { max?: string }) => {
      const client = await ApiClient.open(flags);
      const { moved } = await client.send<{ moved: number }>(
        "POST",
        `${destinationPath(queue)}/move`,
        { to, max: flags.max },
      );
      process.stdout.write(`${moved} messages moved\n`);
    });

  change("reload", "let the broker read its configuration again").action(
    async (flags: ApiFlags) => {
      const client = await ApiClient.open(flags);
      const report = await client.send<ReloadReport>("POST", "/api/reload");
      process.stdout.write(`${reloadMessage(report)}\n`);
    },
  );

  change("disconnect <id>", "close a connection; `sluice connections` lists them").action(
    async (id: string, flags: ApiFlags) => {
      const client = await ApiClient.open(flags);
      await client.send("DELETE", `/api/connections/${encodeURIComponent(id)}`);
      process.stdout.write(`connection ${id} is closed\n`);
    },
  );
}
