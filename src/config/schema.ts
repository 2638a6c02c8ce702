/**
 * The one description of the configuration: types, defaults, checks and the text of docs/configuration.md.
 *
 * A key exists here only while something reads it. Sizes are in bytes and durations in ms once parsed; both may be
 * written with a unit.
 */
import * as z from "zod";
import { amqpSection } from "./amqp.ts";
import { mqttSection } from "./mqtt.ts";
import { quota } from "./quotas.ts";
import { stompSection } from "./stomp.ts";
import { bytes, choice, count, delays, duration, flag, queueName, text, texts } from "./values.ts";

export const PROTOCOLS = ["amqp", "mqtt", "stomp", "http"] as const;
export type ProtocolName = (typeof PROTOCOLS)[number];

const listener = z
  .strictObject({
    enabled: flag(true, "Whether to listen at all."),
    host: text(
      "localhost",
      "Address to listen on; `localhost` is 127.0.0.1 and ::1. Anything but loopback needs at least one user (`sluice user add NAME`). `::` is every address.",
    ),
    port: count(0, "TCP port; 0 takes any free one.", { max: 65535 }),
    path: text("", "A Unix socket to listen on instead of a port."),
    protocols: z
      .array(z.enum(PROTOCOLS, { error: `expected a list of "${PROTOCOLS.join('", "')}"` }))
      .min(1, "expected at least one protocol")
      .default([...PROTOCOLS])
      .meta({
        description:
          "Protocols spoken here; the first bytes decide. `amqp` is AMQP 1.0, `http` is the admin API, metrics and WebSocket.",
      }),
    tls: choice(
      ["auto", "off", "required"],
      "auto",
      "`auto`: TLS and plain on the same port once a certificate is configured. `required`: TLS only.",
    ),
    anonymous: choice(
      ["default", "allow", "deny"],
      "default",
      "Peers without credentials. `default` follows `security.loopback`.",
    ),
  })
  .meta({ description: "A listener, by name." });

/** Retry tables with a name. */
const RETRY_TABLES = {
  rocketmq: "10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h",
};

/** What can be set per destination. */
const destinationFields = {
  maxDeliveries: count(10, "Failed attempts before a message is dead; 0 for no limit."),
  deadLetters: flag(
    true,
    "Dead messages go to the queue `DLQ.<name>`; otherwise they are dropped.",
  ),
  deadLetterTo: queueName("The queue that dead messages go to instead of `DLQ.<name>`."),
  retryDelay: duration("0ms", "A failed message waits so long before the next attempt."),
  retryDelayMax: duration(
    "0ms",
    "Above `retryDelay`: the wait doubles with each failure, up to this.",
  ),
  retryTable: delays(
    RETRY_TABLES,
    "Waits by the number of failures, instead of `retryDelay`: durations such as `10s 1m 5m` (the last holds for all later ones), or `rocketmq` for RocketMQ's own: 10s, 30s, 1m to 10m by the minute, 20m, 30m, 1h, 2h. Set `maxDeliveries` to what fits it (RocketMQ: 16).",
  ),
  ttl: duration("0ms", "Longest time to live, whatever the publisher says; 0 for no limit."),
  maxLength: count(0, "Most messages waiting; 0 for no limit."),
  maxBytes: bytes("0", "Most bytes not yet settled; 0 for no limit."),
  overflow: choice(
    ["drop-head", "dead-letter", "reject", "block"],
    "drop-head",
    "At `maxLength` or `maxBytes`: drop the oldest message, make it a dead letter, refuse the new one, or stop producers.",
  ),
  singleActive: flag(
    false,
    "Only the oldest consumer gets messages; the next takes over when it leaves.",
  ),
  lastValue: flag(
    false,
    "Of messages with the same key only the newest is kept. Set by a policy for a topic, that one stays for later readers, beside what `history` keeps.",
  ),
  endedKeys: duration(
    "1d",
    "In a topic with `lastValue`, a message with a key and no body says that the key has no value any more: readers get it for so long, then key and message are forgotten.",
  ),
  dedupWindow: duration(
    "0ms",
    "A message id seen within this time is not stored again; 0 for off.",
  ),
};

/** A group knows by one number which message of which shard a key is held for. */
const SHARDS_MAX = 64;

const policy = z
  .strictObject({
    match: z.string().min(1).meta({
      description:
        "Name of the destination; `+` stands for one level and `#` for the rest. Levels are separated by `/`, in queue names also by `.`.",
    }),
    kind: z
      .enum(["queue", "topic"], { error: `expected "queue" or "topic"` })
      .optional()
      .meta({ description: "Only queues or only topics; both when absent." }),
    durability: z
      .enum(["fsync", "os", "memory"], { error: `expected "fsync", "os" or "memory"` })
      .optional()
      .meta({ description: "As `store.durability`." }),
    shards: as(count(1, "", { min: 1, max: SHARDS_MAX }), "topics.shards"),
    history: as(duration("0ms", ""), "topics.history"),
    historyCount: as(count(0, ""), "topics.historyCount"),
    historyBytes: as(bytes("0", ""), "topics.historyBytes"),
    maxDeliveries: as(destinationFields.maxDeliveries, "queues.maxDeliveries"),
    deadLetters: as(destinationFields.deadLetters, "queues.deadLetters"),
    deadLetterTo: as(destinationFields.deadLetterTo, "queues.deadLetterTo"),
    retryDelay: as(destinationFields.retryDelay, "queues.retryDelay"),
    retryDelayMax: as(destinationFields.retryDelayMax, "queues.retryDelayMax"),
    retryTable: as(destinationFields.retryTable, "queues.retryTable"),
    ttl: as(destinationFields.ttl, "queues.ttl"),
    maxLength: as(destinationFields.maxLength, "queues.maxLength"),
    maxBytes: as(destinationFields.maxBytes, "queues.maxBytes"),
    overflow: as(destinationFields.overflow, "queues.overflow"),
    singleActive: as(destinationFields.singleActive, "queues.singleActive"),
    lastValue: as(destinationFields.lastValue, "queues.lastValue"),
    endedKeys: as(destinationFields.endedKeys, "queues.endedKeys"),
    dedupWindow: as(destinationFields.dedupWindow, "queues.dedupWindow"),
  })
  .meta({ description: "" });

/** The same key in a policy: absent unless given. */
function as<T extends z.ZodType>(
  schema: { unwrap(): T; meta(): Record<string, unknown> | undefined },
  key: string,
): z.ZodOptional<T> {
  return schema
    .unwrap()
    .optional()
    .meta({ ...schema.meta(), description: `As \`${key}\`.` });
}

export const configSchema = z.strictObject({
  data: text("./data", "Directory for everything that is kept."),
  nodeName: text("sluice", "Name of this broker, as clients and metrics see it."),
  shutdownTimeout: duration("4s", "How long clients get to settle when the broker stops.", {
    max: 60_000,
  }),
  listeners: z
    .record(z.string().regex(/^[a-z][a-z0-9]*$/, "expected a name of a-z and 0-9"), listener)
    .meta({
      description: "Listeners, by name. The six standard ones are there unless `enabled = false`.",
    }),
  tls: z
    .strictObject({
      certificate: text("", "PEM file of the certificate chain; empty for no TLS."),
      key: text("", "PEM file of the private key."),
      clientCa: text("", "PEM file of authorities that sign client certificates."),
      clientRevocations: text(
        "",
        "PEM file of revocation lists, one of each authority in `clientCa`; a certificate that comes to be listed ends its connections.",
      ),
      clientCertificate: choice(
        ["none", "request", "require"],
        "none",
        "Whether clients are asked for a certificate. A verified one logs in by SASL EXTERNAL, or without credentials.",
      ),
      clientName: choice(
        ["commonName", "subject"],
        "commonName",
        "Which part of a client certificate is the user's name.",
      ),
      minVersion: choice(["TLSv1.2", "TLSv1.3"], "TLSv1.2", "Oldest TLS version."),
    })
    .prefault({})
    .meta({ description: "Certificates. Files are read again when they change." }),
  security: z
    .strictObject({
      users: text("", "File of users and rules; empty for `users.toml` in the data directory."),
      loopback: choice(
        ["auto", "open", "closed"],
        "auto",
        "Who may come from this machine without being a user. `open`: anonymous and guest/guest may do everything. `auto`: `open` until the first user exists.",
      ),
      allowPlainWithoutTls: flag(
        false,
        "Take passwords over unencrypted connections from other machines.",
      ),
      failureDelay: duration("500ms", "A failed login is answered this much later.", {
        max: 10_000,
      }),
      trustedProxies: texts([], "Networks (`10.0.0.0/8`) whose PROXY protocol header is believed."),
      allowedOrigins: texts(
        [],
        "Origins of browser pages that may open WebSockets; empty allows pages of this machine only, `*` all.",
      ),
    })
    .prefault({})
    .meta({ description: "Who may come in." }),
  tokens: z
    .strictObject({
      keys: text(
        "",
        "URL or file of the identity provider's key set (JWKS); empty takes no tokens.",
      ),
      issuer: text("", "What the claim `iss` must be; empty does not ask."),
      audience: text("", "What the claim `aud` must hold; empty does not ask."),
      userClaim: text("sub", "The claim that names the user."),
      allow: texts([], "Rules for users of tokens that have no record of their own."),
    })
    .prefault({})
    .meta({
      description:
        "Access tokens (OAuth 2, OpenID Connect), as passwords or by SASL XOAUTH2 and OAUTHBEARER.",
    }),
  store: z
    .strictObject({
      durability: choice(
        ["fsync", "os", "memory"],
        "fsync",
        "What a confirm stands for: synced to disk, given to the kernel (survives a crash of the broker), or received.",
      ),
      segmentBytes: bytes("1GiB", "Size of one file of the log.", {
        min: 1 << 20,
        max: 2 ** 31 - 1,
      }),
      ringBytes: bytes("16MiB", "Memory for records on their way to the disk.", {
        min: 1 << 20,
        max: 2 ** 30,
      }),
      minFreeBytes: bytes(
        "1GiB",
        "Publishing stops when less disk is free; counts as a quarter of the file system at most.",
      ),
      onFailure: choice(
        ["read-only", "stop"],
        "read-only",
        "After an error of the disk other than a full one. `read-only`: nothing more is confirmed, consumers get what is there. `stop`: the process ends with status 1, so that another machine, or a restart, takes over.",
      ),
    })
    .prefault({})
    .meta({ description: "The log on disk." }),
  queues: z
    .strictObject({
      autoCreate: flag(true, "Queues and topics come into being on first use."),
      ...destinationFields,
    })
    .prefault({})
    .meta({ description: "What holds for queues and subscriptions that no policy speaks of." }),
  topics: z
    .strictObject({
      shards: count(
        1,
        "Shards of a topic, each in order by itself: messages of one group id (ordering key) are in one; those without are with others of their topic name (MQTT) or their producer. More than one lets reads of a deep topic go on side by side, and gives up the order between keys. A topic that is there gets more when it is published to, never fewer.",
        { min: 1, max: SHARDS_MAX },
      ),
      history: duration(
        "0ms",
        "How long messages are kept that no subscriber is owed, for late and positional readers; 0 for no limit. History is kept once one of the three limits is set; it goes first when the disk gets short.",
      ),
      historyCount: count(
        0,
        "Most messages of a topic up to which history is kept; 0 for no limit.",
      ),
      historyBytes: bytes(
        "0",
        "Most bytes of a topic up to which history is kept; 0 for no limit.",
      ),
    })
    .prefault({})
    .meta({ description: "What holds for topics that no policy speaks of." }),
  policies: z.array(policy).default([]).meta({
    description:
      "Settings for some destinations, by name. All that match hold; of those that set the same key, the last.",
  }),
  quotas: z.array(quota).default([]).meta({
    description:
      "What a user or a namespace may have at once. Who publishes faster than its rates is not read from for a while and gets no credit, and is never refused for it; what goes beyond the other bounds is refused in the protocol's words. All quotas that speak of a peer hold: its connection's (`limits`), its user's, its namespace's.",
  }),
  limits: z
    .strictObject({
      connectionsMax: count(
        100_000,
        "Connections of all listeners together; never more than the system has file descriptors for. A listener with `http` alone takes 16 beyond that.",
        { min: 1 },
      ),
      connectionsPerAddressMax: count(20_000, "Connections from one address.", { min: 1 }),
      loginsPerAddressMax: count(
        16,
        "Logins by password from one address (IPv6: one /64) that are looked at at a time; a refused one counts until `security.failureDelay` is over, more of them wait. Passwords that were right before do not.",
        { min: 1 },
      ),
      handshakeTimeout: duration("10s", "From accept to a known protocol and a login.", {
        min: 100,
      }),
      messageRate: count(
        0,
        "Messages one connection may publish per second; beyond it, it is not read from for a while. 0 for no limit.",
      ),
      byteRate: bytes(
        "0",
        "Bytes of messages one connection may publish per second; 0 for no limit.",
      ),
      messageBytesMax: bytes("100MiB", "Largest message over AMQP 1.0.", { min: 1024 }),
      otherMessageBytesMax: bytes("16MiB", "Largest message over MQTT and STOMP.", {
        min: 1024,
        max: 2 ** 28 - 1,
      }),
      sessionsPerConnectionMax: count(2047, "AMQP sessions or channels of one connection.", {
        min: 1,
        max: 65_535,
      }),
      linksPerSessionMax: count(1024, "AMQP links of one session.", { min: 1 }),
      outputHighBytes: bytes(
        "1MiB",
        "Unsent output of one connection above which it gets no more deliveries.",
        {
          min: 1 << 16,
        },
      ),
      inputBudgetBytes: bytes(
        "256MiB",
        "Memory for partly received large frames of all connections together.",
        {
          min: 1 << 20,
        },
      ),
    })
    .prefault({})
    .meta({ description: "Bounds; reaching one costs the peer that reaches it." }),
  amqp: amqpSection,
  mqtt: mqttSection,
  stomp: stompSection,
  log: z
    .strictObject({
      level: choice(
        ["debug", "info", "warn", "error"],
        "info",
        "Least severe level that is written.",
      ),
      format: choice(
        ["auto", "pretty", "json"],
        "auto",
        "`auto`: lines for people on a terminal, JSON otherwise.",
      ),
    })
    .prefault({})
    .meta({ description: "The log, on standard output." }),
  metrics: z
    .strictObject({
      destinationsMax: count(
        500,
        "Queues and topics with metrics of their own; the rest is summed up as `other`.",
      ),
    })
    .prefault({})
    .meta({ description: "Prometheus text at `/metrics`." }),
});

export type Config = z.output<typeof configSchema>;
export type PolicyConfig = Config["policies"][number];
export type ListenerConfig = Config["listeners"][string];

/** The standard listeners; a file only names what differs. */
export const STANDARD_LISTENERS: Readonly<Record<string, Partial<ListenerConfig>>> = {
  main: { port: 5672, protocols: ["amqp", "mqtt", "stomp", "http"] },
  mqtt: { port: 1883, protocols: ["mqtt"] },
  stomp: { port: 61613, protocols: ["stomp"] },
  http: { port: 15672, protocols: ["http"] },
  mqttws: { port: 15675, protocols: ["mqtt", "http"] },
  stompws: { port: 15674, protocols: ["stomp", "http"] },
};
