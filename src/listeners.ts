/**
 * The listeners of the configuration: opened at the start, and again those that come, go or move while the broker runs. What
 * cannot be listened on leaves everything as it was. Connections outlive their listener.
 */
import type { Config, ListenerConfig, ProtocolName } from "./config/schema.ts";
import { spareDescriptors } from "./descriptors.ts";
import type { Protocols } from "./protocols.ts";
import { EXIT, StartError } from "./start-error.ts";
import { portError } from "./startup.ts";
import type { Logger } from "./telemetry/log.ts";
import type { HttpGateway } from "./transport/http-gateway.ts";
import { type ConnectionCounts, Listener, type ListenerOptions } from "./transport/listener.ts";
import type { TransportLoop } from "./transport/loop.ts";
import type { TlsTerminator } from "./transport/tls-terminator.ts";
import { networkList } from "./util/network.ts";

export interface ListenersOptions {
  readonly loop: TransportLoop;
  readonly counts: ConnectionCounts;
  readonly tls: TlsTerminator | null;
  readonly protocols: Protocols;
  readonly openGateway: () => Promise<HttpGateway>;
  readonly logger: Logger;
}

type Place = Pick<ListenerConfig, "host" | "port" | "path">;

interface Open {
  readonly listener: Listener;
  readonly place: Place;
}

/** What was opened already, of a change that waits for its `commit`. */
export interface ListenerChange {
  commit(): void;
  undo(): Promise<void>;
}

export class Listeners {
  readonly #options: ListenersOptions;
  readonly #open = new Map<string, Open>();

  constructor(options: ListenersOptions) {
    this.#options = options;
  }

  /** In the order of the configuration. */
  get all(): Listener[] {
    return [...this.#open.values()].map(({ listener }) => listener);
  }

  close(): void {
    for (const { listener } of this.#open.values()) listener.close();
  }

  /** Opens what the configuration has more than before. Throws StartError; then everything is as it was. */
  async prepare(config: Config): Promise<ListenerChange> {
    const { protocols } = this.#options;
    const wanted = Object.entries(config.listeners).filter(([, { enabled }]) => enabled);
    const names = new Set<ProtocolName>(wanted.flatMap(([, listener]) => listener.protocols));
    await protocols.load(names, config);
    const common = await commonOptions(config);
    const optionsOf = (name: string, listener: ListenerConfig): ListenerOptions => ({
      name,
      host: listener.host,
      port: listener.port,
      ...(listener.path === "" ? {} : { path: listener.path }),
      ...this.#manner(name, listener),
      ...common,
    });
    const next = new Map<string, Open>();
    const opened: Array<readonly [string, ListenerConfig, Listener]> = [];
    /** Closed to make room: a place cannot be listened on twice. */
    const yielded: Open[] = [];
    const undo = async (): Promise<void> => {
      for (const [, , listener] of opened) listener.close();
      for (const { listener } of yielded) await listener.reopen();
    };
    try {
      for (const [name, listenerConfig] of wanted) {
        const options = optionsOf(name, listenerConfig);
        const before = this.#open.get(name);
        if (before !== undefined && isSamePlace(before.place, listenerConfig)) {
          next.set(name, before);
          continue;
        }
        const listener = new Listener(this.#options.loop, options, this.#options.counts);
        yielded.push(...(await this.#makeRoom(listenerConfig, config)));
        try {
          await listener.listen();
        } catch (error) {
          throw portError(name, listenerConfig, error as NodeJS.ErrnoException);
        }
        opened.push([name, listenerConfig, listener]);
        next.set(name, { listener, place: listenerConfig });
      }
    } catch (error) {
      await undo();
      throw error;
    }
    const commit = (): void => {
      for (const [name, { listener }] of this.#open) {
        if (next.get(name)?.listener === listener) continue;
        if (!yielded.some((each) => each.listener === listener)) listener.close();
        this.#options.logger.info("listener.closed", {
          name,
          connections: listener.connections,
          message: "no new connections come here; those that are open stay",
        });
      }
      this.#open.clear();
      for (const [name, listenerConfig] of wanted) {
        const each = next.get(name)!;
        this.#open.set(name, each);
        each.listener.configure(optionsOf(name, listenerConfig));
      }
      for (const [name, listenerConfig, listener] of opened) {
        this.#announce(name, listenerConfig, listener);
      }
    };
    return { commit, undo };
  }

  /** What is spoken there and how; may change while it is open. */
  #manner(name: string, { protocols: spoken, tls }: ListenerConfig) {
    const { protocols, tls: terminator, openGateway } = this.#options;
    if (tls === "required" && terminator === null) {
      throw new StartError(
        EXIT.BAD_CONFIGURATION,
        `listeners.${name}.tls: there was no certificate at the start; TLS comes with tls.certificate, tls.key and a restart`,
      );
    }
    return {
      adapters: spoken.flatMap((protocol) => protocols.adaptersOf(protocol)),
      tls: tls === "off" ? null : terminator,
      isTlsRequired: tls === "required",
      http: spoken.includes("http") ? openGateway : null,
    };
  }

  /** Listeners that are at this port and are to leave it anyway stop listening now. */
  async #makeRoom(place: Place, config: Config): Promise<Open[]> {
    const leaving: Open[] = [];
    for (const [name, open] of this.#open) {
      const { path, port } = open.place;
      const isThere = path === "" && place.path === "" && port === place.port && port !== 0;
      const after = config.listeners[name];
      const stays = after?.enabled === true && isSamePlace(open.place, after);
      if (!isThere || stays || !open.listener.isOpen) continue;
      await open.listener.stopListening();
      leaving.push(open);
    }
    return leaving;
  }

  #announce(name: string, config: ListenerConfig, listener: Listener): void {
    this.#options.logger.info("listener.ready", {
      name,
      address: addressOf(config, listener.port),
      protocols: config.protocols.join(" "),
      ...(config.tls === "off" || this.#options.tls === null ? {} : { tls: config.tls }),
    });
  }

  /** How this machine reaches the admin API. */
  httpUrl(): string | undefined {
    for (const { options, port } of this.all) {
      if (options.http === null || options.path !== undefined) continue;
      const { host } = options;
      const isEverything = host === "0.0.0.0" || host === "::" || host === "localhost";
      const name = isEverything ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;
      return `${options.isTlsRequired === true ? "https" : "http"}://${name}:${port}`;
    }
    return undefined;
  }
}

const isSamePlace = (a: Place, b: Place): boolean =>
  a.host === b.host && a.port === b.port && a.path === b.path;

const commonOptions = async ({ limits, security }: Config) => ({
  connectionsMax: Math.min(limits.connectionsMax, await spareDescriptors()),
  connectionsPerAddressMax: limits.connectionsPerAddressMax,
  isTrustedProxy: networkList(security.trustedProxies),
  handshakeTimeoutMs: limits.handshakeTimeout,
});

const addressOf = ({ host, path }: ListenerConfig, port: number): string =>
  path !== "" ? path : `${host.includes(":") ? `[${host}]` : host}:${port}`;
