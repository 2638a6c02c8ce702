/**
 * What is refused, in which words, and where that is tried: every rule, quota and limit. docs/security.md has it as a table;
 * test/interop/access-table.test.ts holds it against the configuration's schema, the steps and the tests.
 */

/** A test by file and title, for what no client's library would do. */
export interface TestOf {
  readonly file: string;
  readonly title: string;
}

export interface AccessRow {
  readonly what: string;
  /** Keys of the configuration, when there are any. */
  readonly keys?: readonly string[];
  /** Words by protocol; the same for all where there is one. */
  readonly amqp: string;
  readonly stomp: string;
  readonly mqtt5: string;
  readonly mqtt3: string;
  readonly http: string;
  /** Rows of the steps access and access-bounds, or tests. */
  readonly tried: ReadonlyArray<string | TestOf>;
}

const NONE = "–";

const denied = (how: string) => ({
  amqp: `${how}, \`amqp:unauthorized-access\``,
  stomp: "ERROR `access refused`",
});
const LIMIT = {
  stomp: "ERROR `limit exceeded`",
  mqtt5: "PUBACK 0x97",
  mqtt3: "closed; QoS 0: dropped",
  http: NONE,
};
const test = (file: string, title: string): TestOf => ({ file: `test/${file}`, title });
/** Ends before a word can be said. */
const closed = { amqp: "closed", stomp: "closed", mqtt5: "closed", mqtt3: "closed" };
const WAITS = {
  amqp: "less credit",
  stomp: "not read from",
  mqtt5: "not read from",
  mqtt3: "not read from",
  http: NONE,
};

export const ACCESS_TABLE: readonly AccessRow[] = [
  {
    what: "login",
    keys: ["security.users", "security.loopback", "security.failureDelay"],
    amqp: "SASL outcome `auth`",
    stomp: "ERROR `Bad CONNECT`",
    mqtt5: "CONNACK 0x86, 0x87",
    mqtt3: "CONNACK 4, 5",
    http: "401",
    tried: ["login: the right password, and nobody else", "rule: admin"],
  },
  {
    what: "a password in the clear from another machine",
    keys: ["security.allowPlainWithoutTls"],
    amqp: "PLAIN is not offered",
    stomp: "ERROR `Bad CONNECT`",
    mqtt5: "CONNACK 0x86",
    mqtt3: "CONNACK 4",
    http: "401",
    tried: [
      test(
        "security/user-authenticator.test.ts",
        "passwords cross the network only under TLS, unless allowed",
      ),
    ],
  },
  {
    what: "a token that is expired, of another issuer or audience, badly signed, or signed with `none`",
    keys: ["tokens.keys", "tokens.issuer", "tokens.audience"],
    amqp: "SASL outcome `auth`",
    stomp: "ERROR `Bad CONNECT`",
    mqtt5: "CONNACK 0x86",
    mqtt3: "CONNACK 4",
    http: "401",
    tried: [
      "taken while connected: the time of a token",
      test(
        "security/tokens.test.ts",
        "a token that is expired, of another issuer, for another audience or signed by another key is refused",
      ),
    ],
  },
  {
    what: "a client certificate of another authority, or a revoked one",
    keys: ["tls.clientCa", "tls.clientRevocations", "tls.clientCertificate"],
    amqp: "TLS alert",
    stomp: "TLS alert",
    mqtt5: "TLS alert",
    mqtt3: "TLS alert",
    http: "TLS alert",
    tried: [
      "taken while connected: a client certificate",
      test("transport/tls.test.ts", "a required client certificate keeps strangers out"),
      test(
        "transport/tls.test.ts",
        "a revoked certificate is good for nothing, neither a new handshake nor a resumed session nor one that stands",
      ),
    ],
  },
  {
    what: "plain text where TLS is required",
    keys: ["listeners.*.tls"],
    ...closed,
    http: "closed",
    tried: [test("transport/tls.test.ts", "where TLS is required, plain peers are turned away")],
  },
  {
    what: "no rule, or a denial: `send`",
    ...denied("`detach`"),
    mqtt5: "PUBACK 0x87",
    mqtt3: "dropped; `closeOnDeny`: closed",
    http: NONE,
    keys: ["mqtt.closeOnDeny"],
    tried: [
      "rule: send",
      "rule: a denial outweighs a grant",
      "rule: a user's own names",
      "rule: what MQTT 3.1.1 may not send is acknowledged and dropped, unless mqtt.closeOnDeny",
    ],
  },
  {
    what: "`receive`, wildcards as a whole",
    ...denied("`detach`"),
    mqtt5: "SUBACK 0x87",
    mqtt3: "SUBACK 0x80",
    http: NONE,
    tried: ["rule: receive", "rule: wildcard subscriptions are covered as a whole"],
  },
  {
    what: "`create`, also of temporary queues",
    keys: ["queues.autoCreate"],
    ...denied("`detach`"),
    mqtt5: "PUBACK, SUBACK 0x87",
    mqtt3: "as `send`, `receive`",
    http: NONE,
    tried: ["rule: create", "rule: temporary queues"],
  },
  {
    what: "`browse`",
    ...denied("`detach`"),
    mqtt5: NONE,
    mqtt3: NONE,
    http: NONE,
    tried: ["rule: browse"],
  },
  {
    what: "`admin`",
    amqp: NONE,
    stomp: NONE,
    mqtt5: NONE,
    mqtt3: NONE,
    http: "403",
    tried: ["rule: admin"],
  },
  {
    what: "queues of the broker's own (`~…`)",
    ...denied("`detach`"),
    mqtt5: NONE,
    mqtt3: NONE,
    http: "403",
    tried: ["queues of the broker's own are nobody's"],
  },
  {
    what: "a page of another origin; another host name on an open loopback; a form",
    keys: ["security.allowedOrigins"],
    amqp: "WebSocket: 403",
    stomp: "WebSocket: 403",
    mqtt5: "WebSocket: 403",
    mqtt3: "WebSocket: 403",
    http: "403, 415",
    tried: [
      "browsers: pages of other origins open no WebSocket",
      "browsers: the admin API answers to the name of this machine, and changes nothing for a form",
    ],
  },
  {
    what: "connections of a user, of a namespace",
    keys: ["quotas.user", "quotas.namespace", "quotas.connections"],
    amqp: "`close`, `amqp:resource-limit-exceeded`",
    stomp: "ERROR `limit exceeded`",
    mqtt5: "CONNACK 0x97",
    mqtt3: "CONNACK 3",
    http: NONE,
    tried: ["quota: connections of a user", "quota: connections of a namespace"],
  },
  {
    what: "queues and topics of a namespace",
    keys: ["quotas.destinations"],
    amqp: "`detach`, `amqp:resource-limit-exceeded`",
    ...LIMIT,
    tried: ["quota: queues and topics of a namespace"],
  },
  {
    what: "messages, bytes of a namespace",
    keys: ["quotas.messages", "quotas.bytes"],
    amqp: "`rejected`, `amqp:resource-limit-exceeded`",
    ...LIMIT,
    tried: [
      "quota: messages of a namespace",
      "quota: bytes of a namespace",
      test(
        "broker/quotas.test.ts",
        "what waits for MQTT sessions, shares and wildcard subscriptions counts for their namespace, a message once",
      ),
    ],
  },
  {
    what: "rates of a connection, a user, a namespace",
    keys: ["limits.messageRate", "limits.byteRate", "quotas.messageRate", "quotas.byteRate"],
    ...WAITS,
    tried: [
      "rate of messages: the sender waits and is not refused",
      "rate of bytes: the sender waits and is not refused",
      "rate of one connection: the sender waits and is not refused",
    ],
  },
  {
    what: "connections in all, from one address",
    keys: ["limits.connectionsMax", "limits.connectionsPerAddressMax"],
    ...closed,
    http: "closed",
    tried: ["limit: connections in all", "limit: connections from one address"],
  },
  {
    what: "logins of one address at a time",
    keys: ["limits.loginsPerAddressMax"],
    amqp: "waits; SASL outcome `sys-temp`",
    stomp: "waits; ERROR `limit exceeded`",
    mqtt5: "waits; CONNACK 0x97",
    mqtt3: "waits; CONNACK 3",
    http: "waits; 503",
    tried: [
      "limit: logins of one address at a time",
      test("security/login-gate.test.ts", "more than may wait are told to come back later"),
    ],
  },
  {
    what: "time for handshake and login",
    keys: ["limits.handshakeTimeout"],
    amqp: "closed",
    stomp: "ERROR, closed",
    mqtt5: "closed",
    mqtt3: "closed",
    http: "408",
    tried: [
      "limit: time for the login",
      test(
        "transport/websocket.test.ts",
        "who opens a WebSocket and never says what it speaks is let go after the handshake time-out",
      ),
    ],
  },
  {
    what: "size of a message",
    keys: ["limits.messageBytesMax", "limits.otherMessageBytesMax"],
    amqp: "`detach`, `amqp:link:message-size-exceeded`",
    stomp: "ERROR",
    mqtt5: "DISCONNECT 0x95",
    mqtt3: "closed",
    http: "413, 431",
    tried: ["limit: size of a message"],
  },
  {
    what: "a full queue or topic (`reject`)",
    keys: ["queues.maxLength", "queues.maxBytes", "queues.overflow"],
    amqp: "`rejected`, `amqp:resource-limit-exceeded`",
    stomp: "ERROR `destination is full`",
    mqtt5: "PUBACK 0x97",
    mqtt3: "closed",
    http: NONE,
    tried: ["limit: a full destination that rejects"],
  },
  {
    what: "... that holds back (`block`)",
    ...WAITS,
    amqp: "no credit",
    tried: [
      test(
        "protocols/stomp/back-pressure.test.ts",
        "a full queue whose policy is to wait holds its producers back, and only them",
      ),
    ],
  },
  {
    what: "what waits for one MQTT session (`reject`)",
    keys: ["mqtt.queuedMax", "mqtt.queuedInMemoryMax", "mqtt.queueOverflow"],
    amqp: "as a full topic",
    stomp: "as a full topic",
    mqtt5: "PUBACK 0x97",
    mqtt3: "closed",
    http: NONE,
    tried: ["limit: what waits for one MQTT session"],
  },
  {
    what: "sessions of a connection, links of a session",
    keys: ["limits.sessionsPerConnectionMax", "limits.linksPerSessionMax"],
    amqp: "`close` or `end`",
    stomp: NONE,
    mqtt5: NONE,
    mqtt3: NONE,
    http: NONE,
    tried: ["limit: AMQP sessions of a connection", "limit: AMQP links of a session"],
  },
  {
    what: "subscriptions, transactions of a connection; silence",
    keys: [
      "stomp.subscriptionsMax",
      "stomp.transactionsMax",
      "stomp.idleTimeout",
      "amqp.idleTimeout",
    ],
    amqp: "silence: `close`, `amqp:resource-limit-exceeded`",
    stomp: "ERROR",
    mqtt5: NONE,
    mqtt3: NONE,
    http: NONE,
    tried: [
      "limit: STOMP subscriptions of a connection",
      "limit: STOMP transactions of a connection",
      test(
        "protocols/stomp/connect.test.ts",
        "without heart-beats a connection may stay silent, unless an idle limit is set",
      ),
      test(
        "protocols/amqp1/open-close.test.ts",
        "a peer that says nothing for the whole time-out is dropped, one with heart-beats is not",
      ),
    ],
  },
  {
    what: "topic aliases; open QoS 1 and 2 messages; text that is none",
    keys: ["mqtt.topicAliasMax", "mqtt.receiveMaximum", "mqtt.checkPayloadFormat"],
    amqp: NONE,
    stomp: NONE,
    mqtt5: "DISCONNECT 0x94, 0x93; PUBACK 0x99",
    mqtt3: NONE,
    http: NONE,
    tried: [
      "limit: a payload that is not the text it claims to be",
      test(
        "protocols/mqtt/clauses-publish.test.ts",
        "[MQTT-3.3.2-8] [MQTT-3.3.2-9] alias 0 and aliases above the maximum end the connection with 0x94",
      ),
      test(
        "protocols/mqtt/clauses-publish.test.ts",
        "[MQTT-3.3.4-9] more open messages than the server takes end the connection with 0x93",
      ),
    ],
  },
  {
    what: "partly received large frames, unsent output",
    keys: ["limits.inputBudgetBytes", "limits.outputHighBytes", "mqtt.directBytesMax"],
    ...closed,
    http: NONE,
    tried: [
      test(
        "transport/base-wire.test.ts",
        "a peer that begins a large frame far over the budget is let go, the others go on",
      ),
      test(
        "transport/base-wire.test.ts",
        "a peer that does not read stops deliveries at the high mark, and is not read from at four times that",
      ),
    ],
  },
];

/** Keys of the sections that bound or admit, of which no peer is refused anything. */
export const REFUSE_NOTHING: readonly string[] = [
  "security.trustedProxies",
  "tokens.userClaim",
  "tokens.allow",
  "tls.certificate",
  "tls.key",
  "tls.clientName",
  "tls.minVersion",
  "listeners.*.enabled",
  "listeners.*.host",
  "listeners.*.port",
  "listeners.*.path",
  "listeners.*.protocols",
  "listeners.*.anonymous",
  "mqtt.v3SessionExpiry",
  "mqtt.sessionExpiryMax",
  "mqtt.sharedExpiry",
  "mqtt.keepAliveMax",
  "mqtt.inflightMax",
  "mqtt.sysInterval",
  "stomp.heartbeatSend",
  "stomp.heartbeatReceive",
  "stomp.prefetch",
  "stomp.strictErrors",
  "stomp.redeliverOnAbort",
  "stomp.virtualHosts",
  "stomp.acceptAnyHost",
  "stomp.compat",
  "stomp.persistentQueues",
  "stomp.persistentTopics",
  "stomp.defaultKind",
];

export function accessTable(): string {
  const rows = ACCESS_TABLE.map(({ what, keys = [], amqp, stomp, mqtt5, mqtt3, http }) => {
    const names = keys.map((key) => `\`${key}\``).join(" ");
    return `| ${[`${what}${names === "" ? "" : `<br>${names}`}`, amqp, stomp, mqtt5, mqtt3, http].join(" | ")} |`;
  });
  return [
    "| | AMQP 1.0 | STOMP | MQTT 5 | MQTT 3 | HTTP |",
    "|---|---|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}
