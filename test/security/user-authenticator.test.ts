import { createHash, createHmac, pbkdf2Sync } from "node:crypto";
import test from "ava";
import type { SaslExchange, SaslStep } from "../../src/security/authenticator.ts";
import { LoopbackPolicy } from "../../src/security/loopback.ts";
import { hashPassword, verifyPassword } from "../../src/security/password.ts";
import type { PeerInfo } from "../../src/security/peer.ts";
import {
  UserAuthenticator,
  type UserAuthenticatorOptions,
} from "../../src/security/user-authenticator.ts";
import { credentialsOf, NO_USERS, type UserStore } from "../../src/security/users.ts";
import { makeUser } from "../../src/security/users-file.ts";
import { SILENT } from "../../src/telemetry/log.ts";

const local: PeerInfo = {
  remoteAddress: "127.0.0.1",
  remotePort: 1,
  listener: "main",
  isLoopback: true,
  isTls: false,
  certificate: null,
};
const remote: PeerInfo = { ...local, remoteAddress: "10.0.0.9", isLoopback: false };
const remoteTls: PeerInfo = { ...remote, isTls: true };
const certified: PeerInfo = {
  ...remoteTls,
  certificate: { subject: "CN=ann,O=Acme", commonName: "ann" },
};

function authenticator(
  users: UserStore = NO_USERS,
  options: Partial<UserAuthenticatorOptions> = {},
): UserAuthenticator {
  return new UserAuthenticator({
    users,
    loopback: new LoopbackPolicy("auto", users),
    allowPlainWithoutTls: false,
    certificateName: "commonName",
    failureDelayMs: 1,
    logger: SILENT,
    ...options,
  });
}

const ann = makeUser("ann", "s3cret\u00e9", []);
async function withAnn(): Promise<UserStore> {
  const user = await ann;
  return { size: 1, generation: 1, find: (name) => (name === "ann" ? user : undefined) };
}

const say = (exchange: SaslExchange, text: string): Promise<SaslStep> =>
  Promise.resolve(exchange.step(Buffer.from(text)));

/** A SCRAM client of its own, so that both sides do not share a mistake. */
async function scramLogin(
  exchange: SaslExchange,
  hash: string,
  user: string,
  password: string,
): Promise<SaslStep> {
  const first = `n=${user},r=clientnonce`;
  const challenge = await say(exchange, `n,,${first}`);
  if (challenge.kind !== "challenge") return challenge;
  const text = challenge.data.toString();
  const [, nonce = "", salt = "", iterations = ""] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(text)!;
  const length = createHash(hash).digest().length;
  const salted = pbkdf2Sync(password, Buffer.from(salt, "base64"), +iterations, length, hash);
  const mac = (key: Buffer, data: string) => createHmac(hash, key).update(data).digest();
  const clientKey = mac(salted, "Client Key");
  const message = `${first},${text},c=biws,r=${nonce}`;
  const signature = mac(createHash(hash).update(clientKey).digest(), message);
  const proof = clientKey.map((byte, i) => byte ^ signature[i]!);
  const final = await say(exchange, `c=biws,r=${nonce},p=${Buffer.from(proof).toString("base64")}`);
  if (final.kind !== "challenge") return final;
  const expected = `v=${mac(mac(salted, "Server Key"), message).toString("base64")}`;
  if (final.data.toString() !== expected) throw new Error("the server's signature is wrong");
  return say(exchange, "");
}

test("without users, loopback peers may be anonymous or guest, others nobody", async (t) => {
  const auth = authenticator();
  t.deepEqual(auth.mechanismsFor(local), ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "ANONYMOUS"]);
  t.true(auth.withoutCredentials(local)?.isAnonymous);
  t.is((await auth.checkPassword("guest", "guest", local))?.name, "guest");
  t.is(await auth.checkPassword("guest", "other", local), undefined);
  t.is(await auth.checkPassword("admin", "guest", local), undefined);
  t.deepEqual(auth.mechanismsFor(remote), []);
  t.is(auth.withoutCredentials(remoteTls), undefined);
  t.is(await auth.checkPassword("guest", "guest", remoteTls), undefined);
  t.is(auth.startSasl("ANONYMOUS", remote), undefined);
});

test("the first user closes the loopback", async (t) => {
  const auth = authenticator(await withAnn());
  t.deepEqual(auth.mechanismsFor(local), ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]);
  t.is(auth.withoutCredentials(local), undefined);
  t.is(await auth.checkPassword("guest", "guest", local), undefined);
  t.is((await auth.checkPassword("ann", "s3cret\u00e9", local))?.name, "ann");
  t.is(
    (await auth.checkPassword("ann", "s3crete\u0301", local))?.name,
    "ann",
    "same when composed",
  );
  t.is(await auth.checkPassword("ann", "", local), undefined);
  t.is(await auth.checkPassword("bob", "s3cret\u00e9", local), undefined);
});

test("passwords cross the network only under TLS, unless allowed", async (t) => {
  const users = await withAnn();
  const strict = authenticator(users);
  t.deepEqual(strict.mechanismsFor(remote), ["SCRAM-SHA-512", "SCRAM-SHA-256"]);
  t.is(await strict.checkPassword("ann", "s3cret\u00e9", remote), undefined);
  t.is((await strict.checkPassword("ann", "s3cret\u00e9", remoteTls))?.name, "ann");
  const lax = authenticator(users, { allowPlainWithoutTls: true });
  t.is((await lax.checkPassword("ann", "s3cret\u00e9", remote))?.name, "ann");
});

test("PLAIN takes the response at once or after an empty challenge", async (t) => {
  const auth = authenticator(await withAnn());
  const success = {
    kind: "success",
    principal: { name: "ann", isAnonymous: false, mechanism: "PLAIN" },
  };
  const plain = () => auth.startSasl("PLAIN", remoteTls)!;
  t.like(await say(plain(), "\0ann\0s3cret\u00e9"), success);
  t.like(await say(plain(), "ann\0ann\0s3cret\u00e9"), success);
  const late = plain();
  t.deepEqual(await say(late, ""), { kind: "challenge", data: Buffer.alloc(0) });
  t.like(await say(late, "\0ann\0s3cret\u00e9"), success);
  for (const bad of [
    "\0ann\0wrong",
    "root\0ann\0s3cret\u00e9",
    "ann",
    "\0\0",
    "\0ann\0s3cret\u00e9\0",
  ]) {
    t.deepEqual(
      await say(plain(), bad),
      { kind: "failure", isTemporary: false },
      JSON.stringify(bad),
    );
  }
  t.deepEqual(await say(plain(), `\0ann\0${"x".repeat(20_000)}`), {
    kind: "failure",
    isTemporary: false,
  });
});

test("SCRAM lets the right password in, and neither a wrong one nor a stranger", async (t) => {
  const auth = authenticator(await withAnn());
  for (const [mechanism, hash] of [
    ["SCRAM-SHA-256", "sha256"],
    ["SCRAM-SHA-512", "sha512"],
  ] as const) {
    const login = (user: string, password: string) =>
      scramLogin(auth.startSasl(mechanism, remote)!, hash, user, password);
    t.like(await login("ann", "s3cret\u00e9"), {
      kind: "success",
      principal: { name: "ann", isAnonymous: false, mechanism },
    });
    t.is((await login("ann", "wrong")).kind, "failure");
    t.is((await login("bob", "wrong")).kind, "failure");
    const guest = authenticator().startSasl(mechanism, local)!;
    t.is((await scramLogin(guest, hash, "guest", "guest")).kind, "success");
  }
});

test("an unknown user gets the same salt each time, like a known one", async (t) => {
  const auth = authenticator(await withAnn());
  const salt = async (user: string) => {
    const step = await say(auth.startSasl("SCRAM-SHA-256", remote)!, `n,,n=${user},r=x`);
    return /s=([^,]+)/.exec(step.kind === "challenge" ? step.data.toString() : "")?.[1];
  };
  t.is(await salt("bob"), await salt("bob"));
  t.not(await salt("bob"), await salt("eve"));
});

test("a verified certificate is an identity, by common name or subject", async (t) => {
  const auth = authenticator();
  t.deepEqual(auth.mechanismsFor(certified), ["EXTERNAL"]);
  t.is(auth.withoutCredentials(certified)?.name, "ann");
  t.like(await say(auth.startSasl("EXTERNAL", certified)!, ""), { kind: "success" });
  t.like(await say(auth.startSasl("EXTERNAL", certified)!, "bob"), { kind: "failure" });
  const bySubject = authenticator(NO_USERS, { certificateName: "subject" });
  t.is(bySubject.withoutCredentials(certified)?.name, "CN=ann,O=Acme");
});

test("a thousand logins of one user cost one hash", async (t) => {
  const auth = authenticator(await withAnn());
  const began = process.cpuUsage();
  const all = await Promise.all(
    Array.from({ length: 1000 }, () => auth.checkPassword("ann", "s3cret\u00e9", remoteTls)),
  );
  t.true(all.every((principal) => principal?.name === "ann"));
  const { user, system } = process.cpuUsage(began);
  // One hash takes tens of milliseconds: a thousand would take half a minute.
  t.true(user + system < 5_000_000);
});

test("a refusal takes the delay, whoever is refused", async (t) => {
  const auth = authenticator(await withAnn(), { failureDelayMs: 80 });
  for (const [user, peer] of [
    ["ann", remoteTls],
    ["bob", remoteTls],
    ["guest", remote],
  ] as const) {
    const began = performance.now();
    t.is(await auth.checkPassword(user, "wrong", peer), undefined);
    t.true(performance.now() - began >= 79);
  }
  t.is(auth.failures, 3);
});

test("a password hash verifies its password only, and says when it is none of ours", async (t) => {
  const hash = await hashPassword("x");
  t.true(await verifyPassword("x", hash));
  t.false(await verifyPassword("y", hash));
  t.not(hash, await hashPassword("x"));
  await t.throwsAsync(verifyPassword("x", "md5$abc"), { message: /not a password hash/ });
});

test("a login remembers which password it was, by SCRAM as by PLAIN, and a new one is another", async (t) => {
  const users = await withAnn();
  const login = authenticator(users);
  const plain = await login.checkPassword("ann", "s3cret\u00e9", local);
  const known = credentialsOf(users.find("ann")!);
  t.is(plain?.credentials, known);
  const scram = await scramLogin(
    login.startSasl("SCRAM-SHA-256", local)!,
    "sha256",
    "ann",
    "s3cret\u00e9",
  );
  t.is(scram.kind === "success" ? scram.principal.credentials : "", known);
  t.not(credentialsOf(await makeUser("ann", "another", [])), known);
  t.is(credentialsOf({ ...(await ann), allow: ["send *"] }), known, "rights are no password");
});

test("a certificate that is not good any more is nobody's login", (t) => {
  const login = authenticator(NO_USERS, { isTrusted: ({ commonName }) => commonName !== "ann" });
  t.is(login.withoutCredentials(certified), undefined);
  t.false(login.mechanismsFor(certified).includes("EXTERNAL"));
});

test("an address that guesses passwords keeps its own waiting, and nobody elsewhere, nor a password that was right before", async (t) => {
  const users = await withAnn();
  const guarded = authenticator(users, { loginsPerAddressMax: 2, failureDelayMs: 400 });
  t.truthy(await guarded.checkPassword("ann", "s3cret\u00e9", remoteTls));
  const began = performance.now();
  const guesses = Array.from({ length: 6 }, (_, i) =>
    guarded.checkPassword("ann", `guess ${i}`, remoteTls),
  );
  const scram = guarded.startSasl("SCRAM-SHA-256", remoteTls)!;
  const scramGuess = scramLogin(scram, "sha256", "ann", "guess 6");
  t.truthy(await guarded.checkPassword("ann", "s3cret\u00e9", remoteTls), "known to be right");
  const elsewhere = { ...remoteTls, remoteAddress: "10.0.0.10" };
  t.is(await guarded.checkPassword("ann", "guess elsewhere", elsewhere), undefined);
  const meanwhile = performance.now() - began;
  for (const guess of guesses) t.is(await guess, undefined);
  t.is((await scramGuess).kind, "failure");
  const took = performance.now() - began;
  t.true(took >= 4 * 400 - 20, `seven guesses, two at a time: ${took} ms`);
  t.true(meanwhile < took, "the others did not wait for them");
  t.true(guarded.held >= 5);
  t.is(guarded.failures, 8);
});
