/** `sluice user`, `sluice grant`, `sluice revoke`: the users file, also of a running broker. */
import { randomBytes } from "node:crypto";
import type { Command } from "commander";
import { usersPath } from "../data-directory.ts";
import { parseRule } from "../security/rules.ts";
import type { UserRecord } from "../security/users.ts";
import { makeUser, UsersFile } from "../security/users-file.ts";
import { EXIT, StartError } from "../start-error.ts";
import { append, type ConfigFlags, configOf, withConfigFlags } from "./config-flags.ts";
import { askPassword, readStandardInput } from "./password-input.ts";
import { formatTable } from "./table.ts";

/** What a user may do when nothing else is said: everything with messages, nothing to the broker itself. */
const ORDINARY = ["create,delete,send,receive,browse,bind *"];
const WIDEST = "* *";
const NAME_BYTES_MAX = 255;

interface PasswordFlags extends ConfigFlags {
  readonly passwordStdin?: boolean;
  readonly generate?: boolean;
}

export function addUserCommands(program: Command): void {
  const user = program.command("user").description("who may log in");

  withConfigFlags(withPasswordFlags(user.command("add <name>")))
    .description("make a user; without rules it may do everything with messages")
    .option(
      "--allow <rule>",
      'what it may do, as "send,receive queue:orders"; may be repeated',
      append,
    )
    .option("--deny <rule>", "what it may not; may be repeated", append)
    .option("--admin", "everything, the admin API included")
    .action(async (name: string, flags) => {
      checkLoginName(name);
      const file = await openFile(flags);
      if (file.find(name) !== undefined) {
        throw usage(
          `user "${name}" exists; change it with "sluice user password" or "sluice grant"`,
        );
      }
      const { allow: asked = [], deny = [] } = flags;
      const allow = flags.admin ? [WIDEST] : asked.length > 0 ? asked : ORDINARY;
      checkRules([...allow, ...deny]);
      file.put(await makeUser(name, await passwordFrom(flags), allow, deny));
      say(`user ${name} may: ${allow.join("; ")} (${file.path})`);
    });

  withConfigFlags(withPasswordFlags(user.command("password <name>")))
    .description("give a user another password")
    .action(async (name: string, flags) => {
      const file = await openFile(flags);
      const { allow, deny } = known(file, name);
      file.put(await makeUser(name, await passwordFrom(flags), allow, deny));
      say(`user ${name} has a new password`);
    });

  withConfigFlags(user.command("remove <name>"))
    .description("remove a user")
    .action(async (name: string, flags) => {
      const file = await openFile(flags);
      known(file, name);
      file.remove(name);
      say(`user ${name} is removed`);
    });

  withConfigFlags(user.command("list"))
    .description("list users and their rules")
    .option("--json", "print them as JSON, without the hashes")
    .action(async (flags) => {
      const file = await openFile(flags);
      if (flags.json) {
        const users = [...file.all()].map(({ name, password, allow, deny }) => ({
          name,
          hasPassword: password !== "",
          allow,
          deny,
        }));
        say(JSON.stringify(users, null, 2));
        return;
      }
      const rows = [...file.all()].map(({ name, password, allow, deny }) => [
        name,
        password !== "",
        [...allow, ...deny.map((rule) => `not ${rule}`)].join("; "),
      ]);
      process.stdout.write(formatTable(["name", "password", "rules"], rows));
    });

  withConfigFlags(program.command("grant <name> <rule...>"))
    .description('let a user do more; "anonymous" is who shows no credentials')
    .option("--deny", "forbid instead; a denial outweighs every grant")
    .action(async (name: string, rules: string[], flags) => {
      checkUserName(name);
      checkRules(rules);
      const file = await openFile(flags);
      // A name without a password: anonymous peers, and users that log in by certificate.
      const record: UserRecord = file.find(name) ?? {
        name,
        password: "",
        scram: {},
        allow: [],
        deny: [],
      };
      const list = flags.deny ? "deny" : "allow";
      file.put({ ...record, [list]: [...new Set([...record[list], ...rules])] });
      say(`user ${name} ${flags.deny ? "may not" : "may"}: ${rules.join("; ")}`);
    });

  withConfigFlags(program.command("revoke <name> <rule...>"))
    .description("take rules back, granted or denied, as they are written")
    .action(async (name: string, rules: string[], flags) => {
      const file = await openFile(flags);
      const record = known(file, name);
      const missing = rules.find((rule) => ![...record.allow, ...record.deny].includes(rule));
      if (missing !== undefined) {
        throw usage(`user "${name}" has no rule "${missing}" ("sluice user list" shows them)`);
      }
      const rest = (list: readonly string[]) => list.filter((rule) => !rules.includes(rule));
      file.put({ ...record, allow: rest(record.allow), deny: rest(record.deny) });
      say(`user ${name} lost: ${rules.join("; ")}`);
    });
}

function withPasswordFlags(command: Command): Command {
  return command
    .option("--password-stdin", "read the password from standard input")
    .option("--generate", "make a password and print it");
}

async function passwordFrom({ passwordStdin, generate }: PasswordFlags): Promise<string> {
  if (generate === true) {
    const password = randomBytes(18).toString("base64url");
    process.stdout.write(`password: ${password}\n`);
    return password;
  }
  const password =
    passwordStdin === true
      ? (await readStandardInput()).replace(/\r?\n$/, "")
      : await askPassword("password: ");
  if (password === "") throw usage("the password is empty");
  return password;
}

async function openFile(flags: ConfigFlags): Promise<UsersFile> {
  const config = await configOf(flags);
  try {
    return new UsersFile(usersPath(config));
  } catch (error) {
    throw usage((error as Error).message);
  }
}

function known(file: UsersFile, name: string): UserRecord {
  const user = file.find(name);
  if (user === undefined) throw usage(`no user "${name}" in ${file.path}`);
  return user;
}

function checkRules(rules: readonly string[]): void {
  for (const rule of rules) {
    const problem = parseRule(rule);
    if (typeof problem === "string") throw usage(problem);
  }
}

/** Also of users without a password: names of certificates and tokens. */
function checkUserName(name: string): void {
  if (name === "" || name.trim() !== name) {
    throw usage(
      `user ${JSON.stringify(name)}: expected a name that neither begins nor ends with a space`,
    );
  }
  if (/\p{C}/u.test(name)) {
    throw usage(`user ${JSON.stringify(name)}: a name must not hold control characters`);
  }
  if (Buffer.byteLength(name) > NAME_BYTES_MAX) {
    throw usage(
      `user ${JSON.stringify(name.slice(0, 40))}…: at most ${NAME_BYTES_MAX} bytes are allowed`,
    );
  }
}

function checkLoginName(name: string): void {
  checkUserName(name);
  if (name.includes(":")) {
    throw usage(
      `user ${JSON.stringify(name)}: HTTP and MQTT end a name at ":", use another character`,
    );
  }
}

const usage = (message: string): StartError => new StartError(EXIT.BAD_CONFIGURATION, message);

const say = (text: string): boolean => process.stdout.write(`${text}\n`);
