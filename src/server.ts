/**
 * The composition root: configuration, store, broker, protocols, listeners, in this order, and back again at the end.
 * Nothing is listened on before the store has recovered; nothing is closed before clients were told.
 */
import { randomBytes } from "node:crypto";
import { Broker } from "./broker/broker.ts";
import type { BrokerLimits } from "./broker/facade.ts";
import { Inspection } from "./broker/inspect.ts";
import type { Config } from "./config/schema.ts";
import { openDataDirectory, removeLocalAccess, writeLocalAccess } from "./data-directory.ts";
import { destinationSettings } from "./destination-settings.ts";
import { Listeners } from "./listeners.ts";
import { Logins } from "./logins.ts";
import { BrokerError } from "./model/errors.ts";
import { Protocols } from "./protocols.ts";
import { quotaRules } from "./quota-rules.ts";
import { planReload, type ReloadReport, reloadMessage } from "./reload.ts";
import { LoopbackPolicy } from "./security/loopback.ts";
import { RuleAuthorizer } from "./security/rule-authorizer.ts";
import { TokenVerifier } from "./security/token-verifier.ts";
import { UserAuthenticator } from "./security/user-authenticator.ts";
import type { UsersFile } from "./security/users-file.ts";
import { compileSelector } from "./selector/selector.ts";
import { EXIT, StartError } from "./start-error.ts";
import { checkReach, exchangeTls, openStore, openTls, openUsers, tokenRules } from "./startup.ts";
import type { MessageStore } from "./store/message-store.ts";
import type { Logger } from "./telemetry/log.ts";
import type { HttpGateway, RequestHandler } from "./transport/http-gateway.ts";
import { ConnectionCounts, type Listener } from "./transport/listener.ts";
import { LOOP_MEMORY_BYTES, TransportLoop } from "./transport/loop.ts";
import type { TlsTerminator } from "./transport/tls-terminator.ts";
import { CopyMemory } from "./util/copy-memory.ts";
import { ownSpareMemory } from "./util/spare-memory.ts";
import { Turn } from "./util/turn.ts";
import { VERSION } from "./version.ts";

export interface ServerOptions {
  readonly config: Config;
  readonly logger: Logger;
  /** Reads the configuration again, for a reload; throws StartError where it is wrong. */
  readonly loadConfig?: () => Promise<Config>;
  /** Another engine than the log in the data directory. */
  readonly store?: MessageStore;
}

/** How often files of users and certificates are looked at. */
const REFRESH_MS = 1000;
/** The transport's own share of the shutdown time: goodbyes have to be read by the peer. */
const POLL_MS = 20;
/** A WebSocket message may hold a packet of the largest size and what lies around its payload. */
const MESSAGE_MARGIN = 1 << 20;
/** Room for messages encoded once for many peers, and for what is read of the log; costs nothing until there is some. */
const SHARED_BYTES = 24 << 20;

export class Server {
  /** What is in force. */
  config: Config;
  readonly broker: Broker;
  /** Resolves with the reason when the disk has failed and the configuration wants the process to end then. */
  readonly failed: Promise<string>;
  readonly #listeners: Listeners;
  readonly #logger: Logger;
  readonly #loop: TransportLoop;
  readonly #memory: CopyMemory | null;
  readonly #users: UsersFile;
  readonly #counts = new ConnectionCounts();
  readonly #authenticator: UserAuthenticator;
  readonly #authorizer: RuleAuthorizer;
  readonly #loopback: LoopbackPolicy;
  readonly #loadConfig: (() => Promise<Config>) | undefined;
  readonly #logins: Logins;
  #tlsChanges = 0;
  readonly #protocols: Protocols;
  readonly #inspection: Inspection;
  readonly #tls: TlsTerminator | null;
  readonly #localToken = randomBytes(24).toString("base64url");
  #isOpen = false;
  #gateway: Promise<HttpGateway> | null = null;
  #refresher: NodeJS.Timeout | null = null;
  #stopping: Promise<void> | null = null;

  /** Starts everything. Throws StartError; then nothing is left behind. */
  static async start(options: ServerOptions): Promise<Server> {
    const { config, logger } = options;
    await openDataDirectory(config.data);
    const users = openUsers(config);
    checkReach(config, users.size);
    const tls = await openTls(config);
    const memory = CopyMemory.open(config.store.ringBytes * 2 + LOOP_MEMORY_BYTES + SHARED_BYTES);
    const store = options.store ?? (await openStore(config, memory));
    const server = new Server(options, users, tls, store, memory);
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

  private constructor(
    options: ServerOptions,
    users: UsersFile,
    tls: TlsTerminator | null,
    store: MessageStore,
    memory: CopyMemory | null,
  ) {
    const { config, logger } = options;
    this.config = config;
    this.#logger = logger;
    this.#users = users;
    this.#loadConfig = options.loadConfig;
    this.#tls = tls;
    const turn = new Turn();
    const loopback = new LoopbackPolicy(
      config.security.loopback,
      users,
      (name) => this.config.listeners[name]?.anonymous ?? "default",
    );
    this.#loopback = loopback;
    this.#authenticator = new UserAuthenticator({
      users,
      loopback,
      ...loginSettings(config),
      ...(tls === null ? {} : { isTrusted: (certificate) => tls.trusts(certificate) }),
      logger,
    });
    this.#authorizer = new RuleAuthorizer(users, loopback, tokenRules(config));
    this.#memory = memory;
    this.#loop = new TransportLoop(turn, logger, loopLimits(config), memory);
    this.broker = new Broker(store, turn, {
      nodeName: config.nodeName,
      version: VERSION,
      limits: brokerLimits(config),
      ...destinationSettings(config),
      quotas: quotaRules(config),
      compileSelector,
      authorizer: this.#authorizer,
      logger,
      isPaced: true,
    });
    this.failed = new Promise((resolve) => {
      this.broker.onBlocked(() => {
        const { health } = store;
        if (health.state !== "failed" || this.config.store.onFailure !== "stop") return;
        resolve(health.reason);
      });
    });
    this.#inspection = new Inspection(this.broker);
    this.#protocols = new Protocols({
      broker: this.broker,
      authenticator: this.#authenticator,
      logger,
    });
    this.#listeners = new Listeners({
      loop: this.#loop,
      counts: this.#counts,
      tls,
      protocols: this.#protocols,
      openGateway: () => this.#openGateway(),
      logger,
    });
    const loginLimitMs = config.limits.handshakeTimeout * 2;
    this.#logins = new Logins({ broker: this.broker, users, loopback, logger, loginLimitMs });
  }

  get listeners(): Listener[] {
    return this.#listeners.all;
  }

  /** Tells clients, lets them settle for a bounded time, syncs and closes. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#listeners.close();
    if (this.#refresher !== null) clearInterval(this.#refresher);
    const { wires } = this.#loop;
    for (const wire of [...wires]) wire.shutdown();
    const deadline = performance.now() + this.config.shutdownTimeout;
    while (wires.size > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    for (const wire of [...wires]) wire.destroy();
    (await this.#gateway)?.close();
    this.#loop.stop();
    if (this.listeners.length > 0) await removeLocalAccess(this.config);
    if (this.#isOpen) await this.broker.close();
    this.#memory?.close();
  }

  async #openBroker(): Promise<void> {
    try {
      const report = await this.broker.open();
      this.#isOpen = true;
      this.#logger.info("store.opened", {
        directory: this.config.data,
        clean: report.wasClean,
        scannedBytes: report.scannedBytes,
        truncatedBytes: report.truncatedBytes,
        quarantined: report.quarantinedRecords,
        ms: Math.round(report.durationMs),
      });
      for (const message of report.warnings) this.#logger.warn("store.warning", { message });
    } catch (error) {
      throw new StartError(
        EXIT.DATA_UNUSABLE,
        `data directory ${this.config.data}: ${(error as Error).message}`,
        { cause: error },
      );
    }
    const spareMemory = ownSpareMemory();
    this.#refresher = setInterval(() => {
      spareMemory.tick();
      const now = Date.now();
      this.#users.refresh(this.#logger);
      this.#logins.followUsers(now);
      if (this.#tls !== null) {
        this.#tls.refresh(this.#logger);
        this.#followCertificates(this.#tls);
      }
      if (this.config.tokens.keys !== "") this.#logins.endExpired(now);
    }, REFRESH_MS);
    this.#refresher.unref();
  }

  async #listen(): Promise<void> {
    const change = await this.#listeners.prepare(this.config);
    change.commit();
    await this.#noteAccess();
  }

  /** How the command line finds this broker. */
  async #noteAccess(): Promise<void> {
    const url = this.#listeners.httpUrl();
    if (url !== undefined) await writeLocalAccess(this.config, { url, token: this.#localToken });
    else await removeLocalAccess(this.config);
  }

  /**
   * Reads the configuration again and lets hold what can. One that is wrong changes nothing: throws StartError with what is
   * wrong.
   */
  async reload(): Promise<ReloadReport> {
    if (this.#loadConfig === undefined) {
      throw new BrokerError("precondition-failed", "there is no configuration to read again");
    }
    try {
      const report = await this.#apply(await this.#loadConfig());
      const { changed, restart } = report;
      const log = restart.length > 0 ? "warn" : "info";
      this.#logger[log]("config.reloaded", {
        changed: changed.join(" "),
        restart: restart.join(" "),
        message: reloadMessage(report),
      });
      return report;
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      this.#logger.error("config.refused", {
        message: `${error.message}; the configuration of before stays in force`,
      });
      throw error;
    }
  }

  async #apply(wanted: Config): Promise<ReloadReport> {
    const { config, changed, restart } = planReload(this.config, wanted, this.#tls !== null);
    // Everything that may be refused comes first.
    const rules = tokenRules(config);
    checkReach(config, this.#users.size);
    const isTls = changed.some((path) => path.startsWith("tls.") && path !== "tls.clientName");
    const useCertificate = isTls ? exchangeTls(this.#tls!, config) : undefined;
    const listeners = await this.#listeners.prepare(config);
    this.config = config;
    useCertificate?.();
    listeners.commit();
    await this.#noteAccess();
    this.#protocols.configure(config);
    this.#loop.configure(loopLimits(config));
    this.broker.store.keepFree?.(config.store.minFreeBytes);
    this.#loopback.mode = config.security.loopback;
    this.#authenticator.configure(loginSettings(config));
    this.#authorizer.setTokenRules(rules);
    this.#logger.setLevel?.(config.log.level);
    this.broker.limits = brokerLimits(config);
    const isHeld = changed.some((path) => path === "quotas" || path.startsWith("limits."));
    if (isHeld) this.broker.quotas.replace(quotaRules(config));
    const destinations = this.broker.reconfigure(destinationSettings(config));
    this.broker.recheckRights();
    return { changed, restart, destinations };
  }

  /** Other authorities or revocation lists: who came by a certificate that is not good any more goes. */
  #followCertificates(tls: TlsTerminator): void {
    if (this.#tlsChanges === tls.changes) return;
    this.#tlsChanges = tls.changes;
    this.#logins.endDistrusted(tls.isClientCertificateRequired, (it) => tls.trusts(it));
  }

  /** HTTP and WebSocket, loaded with the first connection that speaks them. */
  #openGateway(): Promise<HttpGateway> {
    this.#gateway ??= this.#loadGateway();
    return this.#gateway;
  }

  async #loadGateway(): Promise<HttpGateway> {
    const { HttpGateway } = await import("./transport/http-gateway.ts");
    const loop = this.#loop;
    let handler: RequestHandler | undefined;
    const loadHandler = async (): Promise<RequestHandler> => {
      const [{ createAdminHandler }, { Operations }] = await Promise.all([
        import("./admin/app.ts"),
        import("./broker/operations.ts"),
      ]);
      const inForce = (): Config => this.config;
      handler ??= createAdminHandler({
        get config() {
          return inForce();
        },
        reload: () => this.reload(),
        logger: this.#logger,
        inspection: this.#inspection,
        operations: new Operations(this.broker),
        delayed: this.broker.delayed,
        quotas: this.broker.quotas,
        authenticator: this.#authenticator,
        authorizer: this.#authorizer,
        logins: this.#authenticator,
        localToken: this.#localToken,
        transport: {
          counts: this.#counts,
          traffic: () => loop.traffic(),
          keptBytes: () => loop.budget.usedBytes,
        },
        isReady: () => this.#stopping === null,
      });
      return handler;
    };
    const inForce = (): Config => this.config;
    return new HttpGateway(loop, {
      headerTimeoutMs: this.config.limits.handshakeTimeout,
      get messageBytesMax() {
        return inForce().limits.otherMessageBytesMax + MESSAGE_MARGIN;
      },
      get allowedOrigins() {
        return inForce().security.allowedOrigins;
      },
      handler: (request, response, peer) => {
        if (handler !== undefined) handler(request, response, peer);
        else {
          loadHandler().then(
            (loaded) => loaded(request, response, peer),
            (error: unknown) => {
              this.#logger.error("admin.unavailable", { error: error as Error });
              response.writeHead(500).end();
            },
          );
        }
      },
    });
  }
}

const loopLimits = ({ limits: { outputHighBytes, inputBudgetBytes } }: Config) => ({
  outputHighBytes,
  inputBudgetBytes,
});

const brokerLimits = ({ limits }: Config): BrokerLimits => ({
  maxMessageBytes: limits.messageBytesMax,
  maxLinksPerSession: limits.linksPerSessionMax,
  maxSessionsPerConnection: limits.sessionsPerConnectionMax,
});

const loginSettings = ({ security, tls, tokens, limits }: Config) => ({
  loginsPerAddressMax: limits.loginsPerAddressMax,
  allowPlainWithoutTls: security.allowPlainWithoutTls,
  certificateName: tls.clientName,
  failureDelayMs: security.failureDelay,
  tokens: tokens.keys === "" ? null : new TokenVerifier(tokens),
});
