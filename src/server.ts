/**
 * The composition root: configuration, store, broker, protocols, listeners, in this order, and back again at the end.
 * Nothing is listened on before the store has recovered; nothing is closed before clients were told.
 */
import { access, constants, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Broker } from "./broker/broker.ts";
import type { Config, ListenerConfig, ProtocolName } from "./config/schema.ts";
import { destinationSettings } from "./destination-settings.ts";
import { loadProtocols } from "./protocols.ts";
import { LoopbackPolicy } from "./security/loopback.ts";
import { RuleAuthorizer } from "./security/rule-authorizer.ts";
import { UserAuthenticator } from "./security/user-authenticator.ts";
import { UsersFile } from "./security/users-file.ts";
import { compileSelector } from "./selector/selector.ts";
import { EXIT, StartError } from "./start-error.ts";
import type { MessageStore } from "./store/message-store.ts";
import type { Logger } from "./telemetry/log.ts";
import { ConnectionCounts, Listener } from "./transport/listener.ts";
import { TransportLoop } from "./transport/loop.ts";
import { isLoopbackAddress } from "./util/network.ts";
import { Turn } from "./util/turn.ts";
import { VERSION } from "./version.ts";

export interface ServerOptions {
  readonly config: Config;
  readonly logger: Logger;
  /** Another engine than the log in the data directory. */
  readonly store?: MessageStore;
}

/** How often the users file is looked at. */
const USERS_REFRESH_MS = 1000;
/** The transport's own share of the shutdown time: goodbyes have to be read by the peer. */
const POLL_MS = 20;

export class Server {
  readonly config: Config;
  readonly broker: Broker;
  readonly listeners: Listener[] = [];
  readonly #logger: Logger;
  readonly #loop: TransportLoop;
  readonly #users: UsersFile;
  readonly #counts = new ConnectionCounts();
  readonly #authenticator: UserAuthenticator;
  #refresher: NodeJS.Timeout | null = null;
  #stopping: Promise<void> | null = null;

  /** Starts everything. Throws StartError; then nothing is left behind. */
  static async start(options: ServerOptions): Promise<Server> {
    const { config, logger } = options;
    await openDataDirectory(config.data);
    const users = openUsers(config);
    checkReach(config, users.size);
    const server = new Server(options, users, options.store ?? (await openStore(config)));
    try {
      await server.#openBroker();
      await server.#listen();
    } catch (error) {
      await server.stop();
      throw error;
    }
    logger.debug("server.started", { listeners: server.listeners.length });
    return server;
  }

  private constructor(options: ServerOptions, users: UsersFile, store: MessageStore) {
    const { config, logger } = options;
    this.config = config;
    this.#logger = logger;
    this.#users = users;
    const turn = new Turn();
    const loopback = new LoopbackPolicy(
      config.security.loopback,
      users,
      (name) => config.listeners[name]?.anonymous ?? "default",
    );
    this.#authenticator = new UserAuthenticator({
      users,
      loopback,
      allowPlainWithoutTls: config.security.allowPlainWithoutTls,
      certificateName: config.tls.clientName,
      failureDelayMs: config.security.failureDelay,
      logger,
    });
    this.#loop = new TransportLoop(turn, logger, {
      outputHighBytes: config.limits.outputHighBytes,
      inputBudgetBytes: config.limits.inputBudgetBytes,
    });
    this.broker = new Broker(store, turn, {
      nodeName: config.nodeName,
      version: VERSION,
      limits: {
        maxMessageBytes: config.limits.messageBytesMax,
        maxLinksPerSession: config.limits.linksPerSessionMax,
        maxSessionsPerConnection: config.limits.sessionsPerConnectionMax,
      },
      ...destinationSettings(config),
      autoCreate: config.queues.autoCreate,
      compileSelector,
      authorizer: new RuleAuthorizer(users, loopback),
      logger,
    });
  }

  /** Tells clients, lets them settle for a bounded time, syncs and closes. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    for (const listener of this.listeners) listener.close();
    if (this.#refresher !== null) clearInterval(this.#refresher);
    const { wires } = this.#loop;
    for (const wire of [...wires]) wire.shutdown();
    const deadline = Date.now() + this.config.shutdownTimeout;
    while (wires.size > 0 && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    for (const wire of [...wires]) wire.destroy();
    this.#loop.stop();
    await this.broker.close();
  }

  async #openBroker(): Promise<void> {
    try {
      const report = await this.broker.open();
      this.#logger.info("store.opened", {
        directory: this.config.data,
        clean: report.wasClean,
        scannedBytes: report.scannedBytes,
        truncatedBytes: report.truncatedBytes,
        quarantined: report.quarantinedRecords,
        ms: Math.round(report.durationMs),
      });
    } catch (error) {
      throw new StartError(
        EXIT.DATA_UNUSABLE,
        `data directory ${this.config.data}: ${(error as Error).message}`,
        { cause: error },
      );
    }
    this.#refresher = setInterval(() => this.#users.refresh(this.#logger), USERS_REFRESH_MS);
    this.#refresher.unref();
  }

  async #listen(): Promise<void> {
    const enabled = Object.entries(this.config.listeners).filter(([, { enabled }]) => enabled);
    const services = {
      broker: this.broker,
      authenticator: this.#authenticator,
      logger: this.#logger,
    };
    const names = new Set<ProtocolName>(enabled.flatMap(([, { protocols }]) => protocols));
    const adapters = await loadProtocols(names, services, this.config);
    const { limits } = this.config;
    for (const [name, listenerConfig] of enabled) {
      const listener = new Listener(
        this.#loop,
        {
          name,
          host: listenerConfig.host,
          port: listenerConfig.port,
          ...(listenerConfig.path === "" ? {} : { path: listenerConfig.path }),
          adapters: listenerConfig.protocols.flatMap((protocol) => adapters.get(protocol) ?? []),
          handshakeTimeoutMs: limits.handshakeTimeout,
          connectionsMax: limits.connectionsMax,
          connectionsPerAddressMax: limits.connectionsPerAddressMax,
        },
        this.#counts,
      );
      try {
        await listener.listen();
      } catch (error) {
        throw portError(name, listenerConfig, error as NodeJS.ErrnoException);
      }
      this.listeners.push(listener);
      this.#logger.info("listener.ready", {
        name,
        address: addressOf(listenerConfig, listener.port),
        protocols: listenerConfig.protocols.join(" "),
      });
    }
  }
}

const addressOf = ({ host, path }: ListenerConfig, port: number): string =>
  path !== "" ? path : `${host.includes(":") ? `[${host}]` : host}:${port}`;

async function openDataDirectory(data: string): Promise<void> {
  try {
    await mkdir(data, { recursive: true, mode: 0o750 });
    await access(data, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason =
      code === "EACCES" || code === "EPERM"
        ? "this user may not read and write it"
        : code === "ENOTDIR" || code === "EEXIST"
          ? "it is not a directory"
          : code === "EROFS"
            ? "the file system is read-only"
            : ((error as Error).message ?? String(error));
    throw new StartError(
      EXIT.DATA_UNUSABLE,
      `data directory ${data}: ${reason} (choose another with --data)`,
      { cause: error },
    );
  }
}

/** The log in the data directory. */
async function openStore(config: Config): Promise<MessageStore> {
  const { CommitLogStore } = await import("./store/commit-log-store.ts");
  const { segmentBytes, ringBytes, minFreeBytes, readMode } = config.store;
  return new CommitLogStore({
    directory: config.data,
    segmentBytes,
    ringBytes,
    minFreeBytes,
    readMode,
  });
}

export const usersPath = (config: Config): string =>
  config.security.users === "" ? join(config.data, "users.toml") : config.security.users;

function openUsers(config: Config): UsersFile {
  try {
    return new UsersFile(usersPath(config));
  } catch (error) {
    throw new StartError(EXIT.BAD_CONFIGURATION, (error as Error).message, { cause: error });
  }
}

/** What other machines can reach has to have users. */
function checkReach(config: Config, users: number): void {
  if (users > 0) return;
  for (const [name, { enabled, host, path }] of Object.entries(config.listeners)) {
    if (!enabled || path !== "" || isLoopbackAddress(host)) continue;
    throw new StartError(
      EXIT.BAD_CONFIGURATION,
      `listeners.${name}.host: other machines can reach ${host}, and no user exists yet: make one with "sluice user add NAME --data ${config.data}", or listen on 127.0.0.1`,
    );
  }
}

function portError(name: string, config: ListenerConfig, error: NodeJS.ErrnoException): StartError {
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
