/** `sluice config check` and `config reference`: the configuration before anything runs with it. */
import type { Command } from "commander";
import { checkReach, openTls, openUsers, tokenRules } from "../startup.ts";
import { type ConfigFlags, configOf, withServeFlags } from "./config-flags.ts";

export function addConfigCommands(program: Command): void {
  const config = program.command("config").description("about the configuration");

  withServeFlags(config.command("check"))
    .description("say what is wrong with it, or what it would open; exit 2 when wrong")
    .action(async (flags: ConfigFlags) => {
      const loaded = await configOf(flags);
      const users = openUsers(loaded);
      checkReach(loaded, users.size);
      tokenRules(loaded);
      await openTls(loaded);
      const places = Object.entries(loaded.listeners)
        .filter(([, { enabled }]) => enabled)
        .map(([name, { host, port, path, protocols }]) => {
          const place = path === "" ? `${host}:${port}` : path;
          return `  ${name.padEnd(10)} ${place.padEnd(22)} ${protocols.join(" ")}\n`;
        });
      process.stdout.write(
        `good: data in ${loaded.data}, ${users.size} users, TLS ${loaded.tls.certificate === "" ? "off" : "on"}\n${places.join("")}`,
      );
    });

  config
    .command("reference")
    .description("print the reference page of every key")
    .action(async () => {
      const { configReference } = await import("../config/reference.ts");
      process.stdout.write(configReference());
    });
}
