/** Steps of the start that can fail because of what somebody wrote or did: each throws a StartError with one sentence. */
import type { Config, ListenerConfig } from "./config/schema.ts";
import { usersPath } from "./data-directory.ts";
import { parseRule } from "./security/rules.ts";
import { UsersFile } from "./security/users-file.ts";
import { EXIT, StartError } from "./start-error.ts";
import type { MessageStore } from "./store/message-store.ts";
import type { TlsTerminator } from "./transport/tls-terminator.ts";
import type { CopyMemory } from "./util/copy-memory.ts";
import { isLoopbackAddress } from "./util/network.ts";

export function openUsers(config: Config): UsersFile {
  try {
    return new UsersFile(usersPath(config));
  } catch (error) {
    throw new StartError(EXIT.BAD_CONFIGURATION, (error as Error).message, { cause: error });
  }
}

/** What other machines can reach has to have users. */
export function checkReach(config: Config, users: number): void {
  if (users > 0) return;
  for (const [name, { enabled, host, path }] of Object.entries(config.listeners)) {
    if (!enabled || path !== "" || isLoopbackAddress(host)) continue;
    throw new StartError(
      EXIT.BAD_CONFIGURATION,
      `listeners.${name}.host: other machines can reach ${host}, and no user exists yet: make one with "sluice user add NAME --data ${config.data}", or listen on 127.0.0.1`,
    );
  }
}

/** Rules for users of tokens. */
export function tokenRules(config: Config): readonly string[] {
  for (const rule of config.tokens.allow) {
    const problem = parseRule(rule);
    if (typeof problem !== "string") continue;
    throw new StartError(EXIT.BAD_CONFIGURATION, `tokens.allow: ${problem}`);
  }
  return config.tokens.allow;
}

/** TLS for listeners, or null where no certificate is configured. */
export async function openTls(config: Config): Promise<TlsTerminator | null> {
  const { certificate, key, clientName: _, ...client } = config.tls;
  const handshakeTimeoutMs = config.limits.handshakeTimeout;
  if (certificate === "" && key === "") {
    const [name] =
      Object.entries(config.listeners).find(([, l]) => l.enabled && l.tls === "required") ?? [];
    if (name === undefined) return null;
  }
  // Loaded only where it is used: it brings half of the crypto library with it.
  const { TlsFilesError, TlsTerminator } = await import("./transport/tls-terminator.ts");
  try {
    return new TlsTerminator({
      certificate,
      key,
      ...client,
      handshakeTimeoutMs,
    });
  } catch (error) {
    if (!(error instanceof TlsFilesError)) throw error;
    throw new StartError(EXIT.BAD_CONFIGURATION, error.message, { cause: error });
  }
}

/** Other certificate files for a terminator that is there: checked now, in use when the answer is called. */
export function exchangeTls(terminator: TlsTerminator, { tls }: Config): () => void {
  try {
    return terminator.configure(tls);
  } catch (error) {
    throw new StartError(EXIT.BAD_CONFIGURATION, (error as Error).message, { cause: error });
  }
}

/** The log in the data directory. */
export async function openStore(config: Config, memory: CopyMemory | null): Promise<MessageStore> {
  const { CommitLogStore } = await import("./store/commit-log-store.ts");
  const { segmentBytes, ringBytes, minFreeBytes } = config.store;
  return new CommitLogStore({
    directory: config.data,
    segmentBytes,
    ringBytes,
    minFreeBytes,
    memory,
  });
}

/** Why a listener could not listen. */
export function portError(
  name: string,
  config: ListenerConfig,
  error: NodeJS.ErrnoException,
): StartError {
  const where = config.path === "" ? `${config.host}:${config.port}` : config.path;
  const key = config.path === "" ? `listeners.${name}.port` : `listeners.${name}.path`;
  const reason =
    error.code === "EADDRINUSE"
      ? `the port is in use by another process (set ${key}, or stop the other one)`
      : error.code === "EACCES"
        ? `this user may not listen there (set ${key} to 1024 or above)`
        : error.code === "EADDRNOTAVAIL" || error.code === "ENOTFOUND"
          ? `this machine has no such address (set listeners.${name}.host)`
          : error.message;
  return new StartError(EXIT.PORT_UNUSABLE, `listener ${name}, ${where}: ${reason}`, {
    cause: error,
  });
}
