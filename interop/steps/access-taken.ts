/**
 * What is taken away while clients are connected: a right, the user, its password, the time of its token, its certificate,
 * the authority behind that. Each ends for the client it was taken from, in its protocol's own words, and for nobody else.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { type Endpoint, sleep } from "../harness/broker-process.ts";
import { equal, truly } from "../harness/expect.ts";
import { until } from "../harness/group-members.ts";
import { endOf, HOLDERS, type Holder, type HolderKind } from "../harness/holder.ts";
import { ROOT, scratchDir } from "../harness/paths.ts";
import { runOrThrow } from "../harness/process.ts";
import { reason, type StepContext } from "../harness/step.ts";

const PASSWORD = "correct horse";
const TOPIC = "desk";
/** A broker looks at its files once a second. */
const SEEN_LIMIT_MS = 10_000;

/** The two clients of a check: one loses something, the other does not. */
interface Pair {
  readonly kind: HolderKind;
  readonly loser: Holder;
  readonly other: Holder;
}

interface Place {
  readonly kind: HolderKind;
  readonly endpoint: Endpoint;
  readonly users: string;
  /** Folders of two authorities; the broker trusts the first. */
  readonly first: string;
  readonly second: string;
  readonly trusted: string;
  sign(user: string, seconds: number): Promise<string>;
}

const sluice = (...args: readonly string[]): Promise<unknown> =>
  runOrThrow(process.execPath, [join(ROOT, "dist/src/main.js"), ...args], {
    limitMs: 30_000,
    input: PASSWORD,
  });

const inFile = ({ users }: Place): string[] => ["--set", `security.users=${users}`];

/** Users of one check and client alone: checks run side by side. */
const nameOf = (what: string, { kind }: Place): string => `${what}${HOLDERS.indexOf(kind)}`;

const as = ({ endpoint: { host, port } }: Place, user: string, password = PASSWORD): Endpoint => ({
  host,
  port,
  user,
  password,
});

async function addUser(place: Place, name: string): Promise<string> {
  const rules = ["--allow", `send topic:${TOPIC}`, "--allow", `receive topic:${TOPIC}`];
  await sluice("user", "add", name, "--password-stdin", ...inFile(place), ...rules);
  return name;
}

/** Opens both, sees that everything works, runs the check, closes both. */
async function between(
  kind: HolderKind,
  endpoints: readonly [loser: Endpoint, other: Endpoint],
  check: (pair: Pair) => Promise<unknown>,
): Promise<void> {
  const open: Holder[] = [];
  try {
    for (const endpoint of endpoints) {
      open.push(await opened(kind, endpoint));
    }
    const [loser, other] = open as [Holder, Holder];
    await loser.send(TOPIC, "from the loser");
    await reaches(other, "from the loser");
    await other.send(TOPIC, "from the other");
    await reaches(loser, "from the other");
    await check({ kind, loser, other });
  } finally {
    for (const holder of open) await holder.close().catch(() => undefined);
  }
}

/** Connected and subscribed. Users and their rights are seen a moment after they were made. */
async function opened(kind: HolderKind, endpoint: Endpoint): Promise<Holder> {
  for (let waited = 0; ; waited += 100) {
    let holder: Holder | undefined;
    try {
      holder = await kind.open(endpoint);
      await holder.receive(TOPIC);
      return holder;
    } catch (error) {
      await holder?.close().catch(() => undefined);
      if (waited > SEEN_LIMIT_MS) throw error;
      await sleep(100);
    }
  }
}

const reaches = (holder: Holder, text: string): Promise<void> =>
  until(`"${text}" comes`, () => holder.got.includes(text), SEEN_LIMIT_MS);

/** The other one goes on as if nothing had been. */
async function goesOn(other: Holder): Promise<void> {
  await other.send(TOPIC, "still here");
  await reaches(other, "still here");
  equal(other.ended, "", "the other client's end");
}

/** Sends until it is refused; in these words. */
async function refusedSending({ kind, loser }: Pair): Promise<void> {
  const began = performance.now();
  for (let at = 0; performance.now() - began < SEEN_LIMIT_MS; at++) {
    try {
      await loser.send(TOPIC, `try ${at}`);
    } catch (error) {
      const words = `${reason(error)} ${loser.ended}`;
      truly(kind.denied.test(words), `refused in the protocol's words: ${words}`);
      return;
    }
    await sleep(100);
  }
  throw new Error("it may still send");
}

async function endedIn(words: RegExp, holder: Holder): Promise<void> {
  const text = await endOf(holder);
  truly(words.test(text), `ended in the protocol's words: ${text}`);
}

async function mayNotComeIn(kind: HolderKind, endpoint: Endpoint): Promise<void> {
  const holder = await kind.open(endpoint).catch(() => undefined);
  if (holder === undefined) return;
  // AMQP answers every open with an open; the refusal follows.
  await sleep(300);
  const { ended } = holder;
  await holder.close().catch(() => undefined);
  truly(ended !== "", "it may not come in again");
}

type Check = (place: Place) => Promise<unknown>;

const TAKEN: Readonly<Record<string, Check>> = {
  "taken while connected: the right to send": async (place) => {
    const [loser, other] = [
      await addUser(place, nameOf("mute", place)),
      await addUser(place, nameOf("talker", place)),
    ];
    await between(place.kind, [as(place, loser), as(place, other)], async (pair) => {
      await sluice("revoke", loser, `send topic:${TOPIC}`, ...inFile(place));
      await refusedSending(pair);
      await goesOn(pair.other);
    });
  },
  "taken while connected: the right to receive": async (place) => {
    const [loser, other] = [
      await addUser(place, nameOf("deaf", place)),
      await addUser(place, nameOf("listener", place)),
    ];
    await between(place.kind, [as(place, loser), as(place, other)], async (pair) => {
      await sluice("revoke", loser, `receive topic:${TOPIC}`, ...inFile(place));
      await endedIn(pair.kind.denied, pair.loser);
      await goesOn(pair.other);
      truly(!pair.loser.got.includes("still here"), "nothing more comes to the one without it");
    });
  },
  "taken while connected: the user": async (place) => {
    const [loser, other] = [
      await addUser(place, nameOf("leaver", place)),
      await addUser(place, nameOf("stayer", place)),
    ];
    await between(place.kind, [as(place, loser), as(place, other)], async (pair) => {
      await sluice("user", "remove", loser, ...inFile(place));
      await endedIn(pair.kind.unwelcome, pair.loser);
      await goesOn(pair.other);
      await mayNotComeIn(pair.kind, as(place, loser));
    });
  },
  "taken while connected: the password": async (place) => {
    const [loser, other] = [
      await addUser(place, nameOf("changer", place)),
      await addUser(place, nameOf("keeper", place)),
    ];
    await between(place.kind, [as(place, loser), as(place, other)], async (pair) => {
      const file = readFileSync(place.users, "utf8");
      await runOrThrow(
        process.execPath,
        [
          join(ROOT, "dist/src/main.js"),
          "user",
          "password",
          loser,
          "--password-stdin",
          ...inFile(place),
        ],
        { limitMs: 30_000, input: "another" },
      );
      truly(readFileSync(place.users, "utf8") !== file, "the file is another one");
      await endedIn(pair.kind.unwelcome, pair.loser);
      await goesOn(pair.other);
      await mayNotComeIn(pair.kind, as(place, loser));
      await (await place.kind.open(as(place, loser, "another"))).close();
    });
  },
  "taken while connected: the time of a token": async (place) => {
    const short = await place.sign("visitor", 4);
    const long = await place.sign("visitor", 600);
    await between(place.kind, [as(place, "any", short), as(place, "any", long)], async (pair) => {
      await endedIn(pair.kind.expired, pair.loser);
      await goesOn(pair.other);
      truly(!pair.loser.got.includes("still here"), "nothing more comes to the one without it");
    });
  },
};

const CERTIFICATE_ROW = "taken while connected: a client certificate";
const AUTHORITY_ROW = "taken while connected: the authority of a certificate";
export const TAKEN_ROWS: readonly string[] = [
  ...Object.keys(TAKEN),
  CERTIFICATE_ROW,
  AUTHORITY_ROW,
];

/** With the certificate of a client of the authority in `folder`. */
async function certified(place: Place, folder: string, user: string): Promise<Endpoint> {
  await sluice("tls", "client", user, "--out", folder);
  const text = (name: string): string => readFileSync(join(folder, name), "utf8");
  const pem = readFileSync(join(place.first, "ca.pem"), "utf8");
  const identity = { cert: text(`${user}.pem`), key: text(`${user}-key.pem`) };
  const tls = { file: join(place.first, "ca.pem"), pem, identity };
  return { ...as(place, user), tls };
}

async function grant(place: Place, user: string): Promise<void> {
  await sluice("grant", user, `send,receive topic:${TOPIC}`, ...inFile(place));
}

async function revokedCertificate(place: Place): Promise<void> {
  const [loser, other] = [nameOf("ann", place), nameOf("bob", place)];
  for (const user of [loser, other]) await grant(place, user);
  const ends = [
    await certified(place, place.first, loser),
    await certified(place, place.first, other),
  ] as const;
  await between(place.kind, ends, async (pair) => {
    await sluice("tls", "revoke", loser, "--out", place.first);
    await endedIn(pair.kind.unwelcome, pair.loser);
    await goesOn(pair.other);
    await mayNotComeIn(pair.kind, ends[0]);
  });
}

async function replacedAuthority(place: Place): Promise<void> {
  const [loser, other] = [nameOf("carl", place), nameOf("dora", place)];
  for (const user of [loser, other]) await grant(place, user);
  const both = `${readFileSync(join(place.first, "ca.pem"), "utf8")}${readFileSync(join(place.second, "ca.pem"), "utf8")}`;
  await trust(place, both);
  const ends = [
    await certified(place, place.first, loser),
    await certified(place, place.second, other),
  ] as const;
  await between(place.kind, ends, async (pair) => {
    await trust(place, readFileSync(join(place.second, "ca.pem"), "utf8"));
    await endedIn(pair.kind.unwelcome, pair.loser);
    await goesOn(pair.other);
    await mayNotComeIn(pair.kind, ends[0]);
  });
}

/** As a tool for certificates does: the new file takes the place of the old one. */
async function trust({ trusted }: Place, pem: string): Promise<void> {
  writeFileSync(`${trusted}.new`, pem);
  renameSync(`${trusted}.new`, trusted);
}

export async function checkTaken(context: StepContext): Promise<void> {
  const folder = scratchDir("taken");
  try {
    const [first, second] = [join(folder, "first"), join(folder, "second")];
    for (const out of [first, second])
      await sluice("tls", "create", "127.0.0.1", "localhost", "--out", out);
    const users = join(folder, "users.toml");
    const trusted = join(folder, "trusted.pem");
    const { publicKey, privateKey } = await generateKeyPair("ES256");
    const keys = join(folder, "keys.json");
    writeFileSync(
      keys,
      JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "one", alg: "ES256" }] }),
    );
    const sign = (user: string, seconds: number): Promise<string> =>
      new SignJWT({ sub: user })
        .setProtectedHeader({ alg: "ES256", kid: "one" })
        .setExpirationTime(Math.floor(Date.now() / 1000) + seconds)
        .sign(privateKey);
    writeFileSync(trusted, readFileSync(join(first, "ca.pem")));
    // A user, so that the loopback is closed, who makes the topic.
    await sluice(
      "user",
      "add",
      "boss",
      "--password-stdin",
      "--admin",
      "--set",
      `security.users=${users}`,
    );
    // The lists of both authorities, so that each has one.
    for (const out of [first, second]) {
      await sluice("tls", "client", "nobody", "--out", out);
      await sluice("tls", "revoke", "nobody", "--out", out);
    }
    const set = {
      "security.users": users,
      "security.failureDelay": "10ms",
      "tls.certificate": join(first, "server.pem"),
      "tls.key": join(first, "server-key.pem"),
      "tls.clientCa": trusted,
      "tls.clientCertificate": "request",
      "tokens.keys": keys,
      "tokens.allow": JSON.stringify([`send,receive topic:${TOPIC}`]),
    };
    const args = (more: Record<string, string>): string[] =>
      Object.entries({ ...set, ...more }).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
    const at = { users, first, second, trusted, sign };

    const broker = await context.ownBroker({
      args: args({ "tls.clientRevocations": join(first, "revoked.pem") }),
    });
    await makeTopic(broker);
    const places = HOLDERS.map((kind): Place => ({ ...at, kind, endpoint: broker }));
    for (const [row, check] of Object.entries(TAKEN)) {
      // One after the other: all change the same file of users.
      for (const place of places) await context.check(place.kind.name, row, () => check(place));
    }
    for (const place of places) {
      await context.check(place.kind.name, CERTIFICATE_ROW, () => revokedCertificate(place));
    }
    await broker.stop();
    const lax = await context.ownBroker({ args: args({}) });
    await makeTopic(lax);
    for (const kind of HOLDERS) {
      const place: Place = { ...at, kind, endpoint: lax };
      await context.check(kind.name, AUTHORITY_ROW, () => replacedAuthority(place));
    }
    await lax.stop();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function makeTopic({ host, port }: Endpoint): Promise<void> {
  const boss = await HOLDERS[0]!.open({ host, port, user: "boss", password: PASSWORD });
  await boss.send(TOPIC, "first");
  await boss.close();
}
