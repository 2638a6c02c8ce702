/**
 * Runs in a page: @stomp/stompjs and MQTT.js as a browser loads them, over the browser's own WebSocket. `checks.stomp` and
 * `checks.mqtt` have one function per promise; it rejects when the promise does not hold. The keys are those of
 * `harness/capabilities.ts`. `reconnecting` has two halves, between which the broker is killed and started again.
 */
/* global StompJs, mqtt */
const LIMIT_MS = 15_000;
const LARGE = 8 * 1024 * 1024;

const within = (promise, what, limitMs = LIMIT_MS) =>
  Promise.race([
    promise,
    new Promise((_, reject) =>
      setTimeout(() => reject(new Error(`${what}: nothing within ${limitMs} ms`)), limitMs),
    ),
  ]);
const equal = (actual, expected, what) => {
  if (actual !== expected) throw new Error(`${what}: expected ${expected}, got ${actual}`);
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Every value of a byte, 256 KiB of them, and UTF-8 that is none. */
const binary = () => Uint8Array.from({ length: 256 * 1024 }, (_, at) => (at * 7) & 255);
const large = () => new Uint8Array(LARGE).map((_, at) => (at ^ (at >> 8)) & 255);
const equalBytes = (actual, expected, what) => {
  equal(actual.length, expected.length, `${what}, bytes`);
  equal(
    actual.findIndex((byte, at) => byte !== expected[at]),
    -1,
    `${what}, first byte that differs`,
  );
};

class Inbox {
  #messages = [];
  #wake = () => undefined;

  add(message) {
    this.#messages.push(message);
    this.#wake();
  }

  async next(limitMs = LIMIT_MS) {
    if (this.#messages.length === 0) {
      await within(
        new Promise((resolve) => {
          this.#wake = resolve;
        }),
        "a message",
        limitMs,
      );
    }
    return this.#messages.shift();
  }

  async expectQuiet(ms = 250) {
    await sleep(ms);
    equal(this.#messages.length, 0, "messages too many");
  }
}

// ── STOMP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

class Stomp {
  #receipts = 0;

  constructor(client) {
    this.client = client;
  }

  static async connect({ port, version, reconnectDelay = 0, heartbeat = 0 }) {
    const client = new StompJs.Client({
      brokerURL: `ws://127.0.0.1:${port}/stomp`,
      connectHeaders: { login: "guest", passcode: "guest", host: "/" },
      stompVersions: new StompJs.Versions([version]),
      reconnectDelay,
      heartbeatIncoming: heartbeat,
      heartbeatOutgoing: heartbeat,
    });
    const connected = new Promise((resolve, reject) => {
      client.onConnect = () => resolve();
      client.onStompError = ({ headers }) => reject(new Error(headers.message));
      client.onWebSocketClose = ({ code }) => reject(new Error(`closed with ${code}`));
    });
    client.activate();
    await within(connected, "CONNECTED");
    client.onWebSocketClose = () => undefined;
    return new Stomp(client);
  }

  receipt(start) {
    const id = `r${++this.#receipts}`;
    const came = new Promise((resolve) => this.client.watchForReceipt(id, resolve));
    start(id);
    return within(came, "a receipt");
  }

  send(destination, content, headers = {}) {
    const body = typeof content === "string" ? { body: content } : { binaryBody: content };
    return this.receipt((receipt) =>
      this.client.publish({ destination, headers: { ...headers, receipt }, ...body }),
    );
  }

  async subscribe(destination, headers = {}) {
    const inbox = new Inbox();
    await this.receipt((receipt) => {
      this.client.subscribe(destination, (message) => inbox.add(message), { ...headers, receipt });
    });
    return inbox;
  }
}

const stompChecks = {
  "send-receive": async ({ stomp, name, version }) => {
    // @stomp/stompjs escapes header values in 1.2 only.
    const color = version === "1.2" ? "a:b\nc" : "red";
    const inbox = await stomp.subscribe(`/queue/${name}`);
    await stomp.send(`/queue/${name}`, "grüße ✓", { color });
    const { body, headers } = await inbox.next();
    equal(body, "grüße ✓", "text");
    equal(headers.color, color, "header");
  },

  order: async ({ stomp, name }) => {
    const inbox = await stomp.subscribe(`/queue/${name}`);
    const sends = Array.from({ length: 1000 }, (_, at) => stomp.send(`/queue/${name}`, `${at}`));
    await Promise.all(sends);
    for (let at = 0; at < 1000; at++) equal((await inbox.next()).body, `${at}`, "text");
    await inbox.expectQuiet();
  },

  bodies: async ({ stomp, name }) => {
    const inbox = await stomp.subscribe(`/queue/${name}`);
    for (const body of [binary(), new Uint8Array([0, 0xc3, 0x28]), new Uint8Array(0)]) {
      await stomp.send(`/queue/${name}`, body);
      equalBytes((await inbox.next()).binaryBody, body, "bytes");
    }
    await stomp.send(`/queue/${name}`, "text \u0000 and more 🎈");
    equal((await inbox.next()).body, "text \u0000 and more 🎈", "text");
  },

  large: async ({ stomp, name }) => {
    const inbox = await stomp.subscribe(`/queue/${name}`);
    await stomp.send(`/queue/${name}`, large());
    equalBytes((await inbox.next()).binaryBody, large(), "8 MiB");
  },

  acknowledge: async ({ stomp, name, connect }) => {
    for (const text of ["a", "b", "c"]) await stomp.send(`/queue/${name}`, text);
    const inbox = await stomp.subscribe(`/queue/${name}`, { ack: "client-individual" });
    const [first, second] = [await inbox.next(), await inbox.next(), await inbox.next()];
    await stomp.receipt((receipt) => first.ack({ receipt }));
    await stomp.receipt((receipt) => second.ack({ receipt }));
    await stomp.client.deactivate();
    const again = await (await connect()).subscribe(`/queue/${name}`);
    const rest = await again.next();
    equal(rest.body, "c", "what was not acknowledged");
    await again.expectQuiet();
  },

  reject: async ({ stomp, name }) => {
    const inbox = await stomp.subscribe(`/queue/${name}`, { ack: "client-individual" });
    await stomp.send(`/queue/${name}`, "bad");
    const message = await inbox.next();
    const dead = await stomp.subscribe(`/queue/DLQ.${name}`);
    await stomp.receipt((receipt) => message.nack({ receipt, requeue: "false" }));
    equal((await dead.next()).body, "bad", "dead letter");
  },

  "topic-fanout": async ({ stomp, name, connect }) => {
    const other = await connect();
    const inboxes = [
      await stomp.subscribe(`/topic/${name}.*`),
      await other.subscribe(`/topic/${name}.x`),
    ];
    await stomp.send(`/topic/${name}.x`, "to all");
    for (const inbox of inboxes) equal((await inbox.next()).body, "to all", "text");
  },

  transactions: async ({ stomp, name }) => {
    const inbox = await stomp.subscribe(`/queue/${name}`);
    for (const end of ["abort", "commit"]) {
      const transaction = stomp.client.begin();
      const headers = { transaction: transaction.id };
      for (const part of [1, 2]) {
        const body = `${end} ${part}`;
        stomp.client.publish({ destination: `/queue/${name}`, body, headers });
      }
      transaction[end]();
    }
    equal((await inbox.next()).body, "commit 1", "text");
    equal((await inbox.next()).body, "commit 2", "text");
    await inbox.expectQuiet();
  },

  heartbeat: async ({ name, connect }) => {
    const idle = await connect({ heartbeat: 500 });
    const inbox = await idle.subscribe(`/queue/${name}`);
    await sleep(2500);
    await idle.send(`/queue/${name}`, "still here");
    equal((await inbox.next()).body, "still here", "text");
  },

  refusals: async ({ stomp, connect, name }) => {
    const bad = await connect();
    const failed = new Promise((resolve) => {
      bad.client.onStompError = resolve;
    });
    bad.client.publish({ destination: "", body: "nowhere" });
    await within(failed, "ERROR");
    const inbox = await stomp.subscribe(`/queue/${name}`);
    await stomp.send(`/queue/${name}`, "fine");
    equal((await inbox.next()).body, "fine", "others go on");
  },
};

// ── MQTT ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

let clients = 0;

class Mqtt {
  inbox = new Inbox();

  static async connect({ port, version, clientId, reconnectPeriod = 0, ...options }) {
    const self = new Mqtt();
    self.client = mqtt.connect(`ws://127.0.0.1:${port}/mqtt`, {
      clientId: clientId ?? `page-${version}-${Date.now()}-${++clients}`,
      protocolVersion: version,
      username: "guest",
      password: "guest",
      reconnectPeriod,
      ...options,
    });
    self.client.on("message", (topic, payload, packet) =>
      self.inbox.add({ topic, payload, text: payload.toString(), packet }),
    );
    const connected = new Promise((resolve, reject) => {
      self.client.once("connect", resolve);
      self.client.once("error", reject);
      self.client.once("close", () => reject(new Error("closed before CONNACK")));
    });
    self.connack = await within(connected, "CONNACK");
    self.client.on("error", () => undefined);
    return self;
  }

  publish(topic, payload, options = { qos: 1 }) {
    return within(this.client.publishAsync(topic, payload, options), `acknowledgement of ${topic}`);
  }

  subscribe(filter, qos = 1) {
    return within(this.client.subscribeAsync(filter, { qos }), `SUBACK for ${filter}`);
  }

  end() {
    return this.client.endAsync();
  }
}

const kept = (version) =>
  version === 5 ? { clean: false, properties: { sessionExpiryInterval: 600 } } : { clean: false };

const mqttChecks = {
  "publish-subscribe": async ({ peer, name }) => {
    await peer.subscribe(`${name}/+`);
    await peer.publish(`${name}/a`, "grüße ✓");
    const { topic, text } = await peer.inbox.next();
    equal(topic, `${name}/a`, "topic");
    equal(text, "grüße ✓", "text");
  },

  qos: async ({ peer, name }) => {
    await peer.subscribe(`${name}/q`, 2);
    for (const qos of [0, 1, 2]) {
      await peer.publish(`${name}/q`, `${qos}`, { qos });
      equal((await peer.inbox.next()).packet.qos, qos, "QoS");
    }
  },

  order: async ({ peer, name }) => {
    await peer.subscribe(`${name}/o`);
    const sent = [];
    for (let at = 0; at < 1000; at++) sent.push(peer.publish(`${name}/o`, `${at}`));
    await Promise.all(sent);
    for (let at = 0; at < 1000; at++) equal((await peer.inbox.next()).text, `${at}`, "text");
    await peer.inbox.expectQuiet();
  },

  bodies: async ({ peer, name }) => {
    await peer.subscribe(`${name}/b`);
    for (const body of [binary(), new Uint8Array([0, 0xc3, 0x28])]) {
      await peer.publish(`${name}/b`, body);
      equalBytes((await peer.inbox.next()).payload, body, "bytes");
    }
  },

  large: async ({ peer, name }) => {
    await peer.subscribe(`${name}/l`);
    await peer.publish(`${name}/l`, large());
    equalBytes((await peer.inbox.next()).payload, large(), "8 MiB");
  },

  retained: async ({ peer, name, connect }) => {
    await peer.publish(`${name}/r`, "kept", { qos: 1, retain: true });
    const late = await connect();
    await late.subscribe(`${name}/#`);
    const { text, packet } = await late.inbox.next();
    equal(text, "kept", "text");
    equal(packet.retain, true, "retain flag");
    await peer.publish(`${name}/r`, "", { qos: 1, retain: true });
  },

  will: async ({ peer, name, connect }) => {
    await peer.subscribe(`${name}/w`);
    const doomed = await connect({ will: { topic: `${name}/w`, payload: "lost", qos: 1 } });
    doomed.client.stream.destroy();
    equal((await peer.inbox.next()).text, "lost", "will");
  },

  session: async ({ peer, name, connect, version }) => {
    const mine = { clientId: `${name}-kept`, ...kept(version) };
    const first = await connect(mine);
    await first.subscribe(`${name}/s`);
    await first.end();
    await peer.publish(`${name}/s`, "meanwhile");
    const second = await connect(mine);
    equal(second.connack.sessionPresent, true, "session present");
    equal((await second.inbox.next()).text, "meanwhile", "text");
  },

  heartbeat: async ({ name, connect }) => {
    const idle = await connect({ keepalive: 1 });
    await idle.subscribe(`${name}/i`);
    await sleep(3000);
    await idle.publish(`${name}/i`, "still here");
    equal((await idle.inbox.next()).text, "still here", "text");
  },

  refusals: async ({ connect }) => {
    const refused = await connect({ password: "not the password" }).then(
      () => false,
      () => true,
    );
    equal(refused, true, "a wrong password is refused");
  },
};

// ── what the step calls ───────────────────────────────────────────────────────────────────────────────────────────────

let names = 0;

async function runStomp(key, port, version) {
  const opened = [];
  const connect = async (options = {}) => {
    const stomp = await Stomp.connect({ port, version, ...options });
    opened.push(stomp);
    return stomp;
  };
  try {
    const name = `page-${key}-${version.replace(".", "")}-${++names}`;
    await stompChecks[key]({ stomp: await connect(), connect, name, version });
  } finally {
    for (const { client } of opened) client.deactivate();
  }
}

async function runMqtt(key, port, version) {
  const opened = [];
  const connect = async (options = {}) => {
    const peer = await Mqtt.connect({ port, version, ...options });
    opened.push(peer);
    return peer;
  };
  try {
    const name = `page-${key}-${version}-${++names}`;
    await mqttChecks[key]({ peer: await connect(), connect, name, version });
  } finally {
    for (const { client } of opened) client.end(true);
  }
}

/** Clients that find their way back by themselves: `before` connects, `after` is called when the broker is there again. */
const reconnecting = {
  stomp: {
    async before(port, version) {
      const stomp = await Stomp.connect({ port, version, reconnectDelay: 100 });
      const inbox = new Inbox();
      const subscribe = () =>
        stomp.client.subscribe("/queue/page-back", (message) => inbox.add(message), {
          ack: "client-individual",
        });
      subscribe();
      await stomp.send("/queue/page-back", "before");
      equal((await inbox.next()).body, "before", "text");
      // Not acknowledged: it comes again to the next connection.
      stomp.client.onConnect = subscribe;
      this.kept = { stomp, inbox };
    },
    async after() {
      const { stomp, inbox } = this.kept;
      const again = await inbox.next();
      equal(again.body, "before", "what was not acknowledged");
      await stomp.receipt((receipt) => again.ack({ receipt }));
      await stomp.send("/queue/page-back", "after");
      const next = await inbox.next();
      equal(next.body, "after", "text");
      await stomp.receipt((receipt) => next.ack({ receipt }));
      stomp.client.deactivate();
    },
  },
  mqtt: {
    async before(port, version) {
      const clientId = `page-back-${version}`;
      const peer = await Mqtt.connect({
        port,
        version,
        clientId,
        reconnectPeriod: 100,
        resubscribe: false,
        ...kept(version),
      });
      await peer.subscribe(`page-back/${version}`, 2);
      await peer.publish(`page-back/${version}`, "before", { qos: 2 });
      equal((await peer.inbox.next()).text, "before", "text");
      this.kept = peer;
      this.back = new Promise((resolve) => {
        peer.client.once("connect", resolve);
      });
      // Published while the broker is gone; MQTT.js sends it when it is back.
      peer.client.once("close", () => {
        this.sent = peer.client.publishAsync(`page-back/${version}`, "after", { qos: 2 });
      });
    },
    async after(version) {
      const { sessionPresent } = await within(this.back, "CONNACK");
      equal(sessionPresent, true, "session present");
      await within(this.sent, "PUBCOMP");
      equal((await this.kept.inbox.next()).text, "after", `text on page-back/${version}`);
      await this.kept.inbox.expectQuiet();
      this.kept.client.end(true);
    },
  },
};

/** What a page of a foreign site sees: the connection is closed before anything is said. */
async function connectsAtAll(port) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/mqtt`, ["mqtt"]);
  return within(
    new Promise((resolve) => {
      socket.onopen = () => resolve(true);
      socket.onerror = () => resolve(false);
    }),
    "the WebSocket",
  );
}

self.checks = { stomp: Object.keys(stompChecks), mqtt: Object.keys(mqttChecks) };
Object.assign(self, { runStomp, runMqtt, reconnecting, connectsAtAll });
