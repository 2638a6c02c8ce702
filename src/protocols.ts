/** Which adapters there are, by the names listeners use. Each is loaded only when some listener speaks it. */
import type { ProtocolServices } from "./broker/protocol-services.ts";
import type { Config, ProtocolName } from "./config/schema.ts";
import type { ProtocolAdapter } from "./transport/wire.ts";

/** `configure`: other settings, for connections that come from now on. */
interface Loaded {
  readonly adapter: ProtocolAdapter;
  configure(config: Config): void;
}

type Loader = (services: ProtocolServices, config: Config) => Promise<Loaded>;

/** An adapter with the part of the configuration that it is made of. */
function loaded<Settings>(
  adapter: ProtocolAdapter & { configure(settings: Settings): void },
  settingsOf: (config: Config) => Settings,
): Loaded {
  return { adapter, configure: (config) => adapter.configure(settingsOf(config)) };
}

const amqpSettings = ({ limits, amqp }: Config) => ({
  idleTimeoutMs: amqp.idleTimeout,
  handshakeTimeoutMs: limits.handshakeTimeout,
  partialBudgetBytes: limits.inputBudgetBytes,
});

const mqttSettings = ({ limits, mqtt }: Config) => ({
  maxPacketBytes: limits.otherMessageBytesMax,
  connectTimeoutMs: limits.handshakeTimeout,
  v3SessionExpirySeconds: Math.ceil(mqtt.v3SessionExpiry / 1000),
  // 0xffffffff is "for ever" on the wire.
  maxSessionExpirySeconds: Math.ceil(mqtt.sessionExpiryMax / 1000) || 0xffff_ffff,
  sharedExpiryMs: mqtt.sharedExpiry,
  maxKeepAliveSeconds: Math.floor(mqtt.keepAliveMax / 1000),
  maxInflight: mqtt.inflightMax,
  receiveMaximum: mqtt.receiveMaximum,
  topicAliasMaximum: mqtt.topicAliasMax,
  maxQueued: mqtt.queuedMax,
  maxQueuedInMemory: mqtt.queuedInMemoryMax,
  queueOverflow: mqtt.queueOverflow,
  directMaxBytes: mqtt.directBytesMax,
  checkPayloadFormat: mqtt.checkPayloadFormat,
  closeOnDeny: mqtt.closeOnDeny,
  sysIntervalMs: mqtt.sysInterval,
});

const stompSettings = ({ limits, stomp }: Config) => ({
  maxBodyBytes: limits.otherMessageBytesMax,
  handshakeTimeoutMs: limits.handshakeTimeout,
  heartbeatSendMs: stomp.heartbeatSend,
  heartbeatReceiveMs: stomp.heartbeatReceive,
  idleTimeoutMs: stomp.idleTimeout,
  defaultPrefetch: stomp.prefetch,
  maxSubscriptions: stomp.subscriptionsMax,
  maxTransactions: stomp.transactionsMax,
  strictErrors: stomp.strictErrors,
  redeliverOnAbort: stomp.redeliverOnAbort,
  virtualHosts: stomp.virtualHosts,
  acceptAnyHost: stomp.acceptAnyHost,
  compat: stomp.compat,
  persistentQueues: stomp.persistentQueues,
  persistentTopics: stomp.persistentTopics,
  defaultKind: stomp.defaultKind,
});

const LOADERS: Readonly<Record<Exclude<ProtocolName, "http">, readonly Loader[]>> = {
  amqp: [
    async (services, config) => {
      const { createAdapter } = await import("../protocols/amqp1/adapter.ts");
      return loaded(createAdapter(services, amqpSettings(config)), amqpSettings);
    },
  ],
  mqtt: [
    async (services, config) => {
      const { createAdapter } = await import("../protocols/mqtt/adapter.ts");
      return loaded(createAdapter(services, mqttSettings(config)), mqttSettings);
    },
  ],
  stomp: [
    async (services, config) => {
      const { createAdapter } = await import("../protocols/stomp/adapter.ts");
      return loaded(createAdapter(services, stompSettings(config)), stompSettings);
    },
  ],
};

export class Protocols {
  readonly #services: ProtocolServices;
  readonly #loaded = new Map<ProtocolName, readonly Loaded[]>();

  constructor(services: ProtocolServices) {
    this.#services = services;
  }

  /** The adapters of every protocol in `names` are there when it resolves. */
  async load(names: ReadonlySet<ProtocolName>, config: Config): Promise<void> {
    for (const [key, loaders] of Object.entries(LOADERS)) {
      const name = key as ProtocolName;
      if (!names.has(name) || this.#loaded.has(name)) continue;
      const all = loaders.map((load) => load(this.#services, config));
      this.#loaded.set(name, await Promise.all(all));
    }
  }

  adaptersOf(name: ProtocolName): ProtocolAdapter[] {
    return (this.#loaded.get(name) ?? []).map(({ adapter }) => adapter);
  }

  configure(config: Config): void {
    for (const protocols of this.#loaded.values()) {
      for (const each of protocols) each.configure(config);
    }
  }
}
