/** The command line. Every command loads what it needs when it runs. */
import { Command, CommanderError } from "commander";
import { EXIT, type ExitCode } from "../start-error.ts";
import { VERSION } from "../version.ts";
import { withServeFlags } from "./config-flags.ts";
import { EXAMPLES } from "./examples.ts";

interface CommandGroup {
  readonly names: readonly string[];
  load(): Promise<(program: Command) => void>;
}

const LOOK = ["status", "top", "queues", "topics", "groups", "consumers", "connections", "browse"];

const commandGroups = (leave: (code: ExitCode) => void): readonly CommandGroup[] => [
  { names: LOOK, load: async () => (await import("./look.ts")).addLookCommands },
  {
    names: ["purge", "delete", "move", "disconnect", "reload"],
    load: async () => (await import("./change.ts")).addChangeCommands,
  },
  { names: ["delayed"], load: async () => (await import("./delayed.ts")).addDelayedCommands },
  {
    names: ["user", "grant", "revoke"],
    load: async () => (await import("./users.ts")).addUserCommands,
  },
  { names: ["tls"], load: async () => (await import("./tls.ts")).addTlsCommands },
  {
    names: ["store"],
    load: async () => {
      const { addStoreCommands } = await import("./store.ts");
      return (program) => addStoreCommands(program, leave);
    },
  },
];

/** Says with each command how to go on: an example in its help, its help in its complaints. */
function explain(command: Command, name: string): void {
  for (const inner of command.commands) {
    const path = `${name} ${inner.name()}`.trim();
    const example = EXAMPLES[path];
    if (example !== undefined) inner.addHelpText("after", `\nExample:\n  ${example}`);
    if (inner.commands.length === 0)
      inner.showHelpAfterError(`(sluice ${path} --help explains it)`);
    explain(inner, path);
  }
}

/** Runs one command; resolves with the exit code. */
export async function runProgram(args: readonly string[]): Promise<number> {
  let code: number = EXIT.OK;
  const program = new Command("sluice")
    .description("A message broker: AMQP 1.0, STOMP and MQTT in front of one log")
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError("(sluice --help lists the commands)");
  withServeFlags(program.command("serve"))
    .description("run the broker")
    .action(async (flags) => {
      const { serve } = await import("./serve.ts");
      code = await serve(flags);
    });
  const groups = commandGroups((exitCode) => {
    code = exitCode;
  });
  // Only what is asked for is loaded; the list of all of them wants all.
  const wanted = groups.filter(({ names }) => names.includes(args[0] ?? ""));
  if (args[0] !== "serve" && args[0] !== "config") {
    for (const { load } of wanted.length > 0 ? wanted : groups) (await load())(program);
  }

  const { addConfigCommands } = await import("./config.ts");
  addConfigCommands(program);
  explain(program, "");

  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? EXIT.OK : EXIT.BAD_CONFIGURATION;
    }
    throw error;
  }
  return code;
}
