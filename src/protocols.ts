/** Which adapters there are, by the names listeners use. Each is loaded only when some listener speaks it. */
import type { ProtocolServices } from "./broker/protocol-services.ts";
import type { Config, ProtocolName } from "./config/schema.ts";
import type { ProtocolAdapter } from "./transport/wire.ts";

type Loader = (services: ProtocolServices, config: Config) => Promise<ProtocolAdapter>;

const LOADERS: Readonly<Record<Exclude<ProtocolName, "http">, readonly Loader[]>> = {
  amqp: [
    async (services, { limits }) => {
      const { createAdapter } = await import("../protocols/amqp1/adapter.ts");
      return createAdapter(services, {
        handshakeTimeoutMs: limits.handshakeTimeout,
        partialBudgetBytes: limits.inputBudgetBytes,
      });
    },
  ],
  mqtt: [
    async (services, { limits, mqtt }) => {
      const { createAdapter } = await import("../protocols/mqtt/adapter.ts");
      return createAdapter(services, {
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
    },
  ],
  stomp: [
    async (services, { limits, stomp }) => {
      const { createAdapter } = await import("../protocols/stomp/adapter.ts");
      return createAdapter(services, {
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
    },
  ],
};

/** The adapters of every protocol in `names`. */
export async function loadProtocols(
  names: ReadonlySet<ProtocolName>,
  services: ProtocolServices,
  config: Config,
): Promise<Map<ProtocolName, readonly ProtocolAdapter[]>> {
  const adapters = new Map<ProtocolName, readonly ProtocolAdapter[]>();
  for (const [name, loaders] of Object.entries(LOADERS)) {
    if (!names.has(name as ProtocolName)) continue;
    adapters.set(
      name as ProtocolName,
      await Promise.all(loaders.map((load) => load(services, config))),
    );
  }
  return adapters;
}
