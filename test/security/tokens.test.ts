import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { makeAddress } from "../../src/model/address.ts";
import type { SaslStep } from "../../src/security/authenticator.ts";
import { LoopbackPolicy } from "../../src/security/loopback.ts";
import type { PeerInfo } from "../../src/security/peer.ts";
import { RuleAuthorizer } from "../../src/security/rule-authorizer.ts";
import { TokenVerifier } from "../../src/security/token-verifier.ts";
import { UserAuthenticator } from "../../src/security/user-authenticator.ts";
import { NO_USERS } from "../../src/security/users.ts";
import { SILENT } from "../../src/telemetry/log.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const peer: PeerInfo = {
  remoteAddress: "192.0.2.7",
  remotePort: 1,
  listener: "main",
  isLoopback: false,
  isTls: true,
  certificate: null,
};
const issuer = "https://id.example/";
const keys = generateKeyPair("ES256");
const otherKeys = generateKeyPair("ES256");

async function token(
  claims: Record<string, unknown> = {},
  { expires = "10m", by = keys, audience = "sluice", from = issuer } = {},
): Promise<string> {
  const { privateKey } = await by;
  return new SignJWT({ sub: "ann", ...claims })
    .setProtectedHeader({ alg: "ES256", kid: "1" })
    .setIssuer(from)
    .setAudience(audience)
    .setExpirationTime(expires)
    .sign(privateKey);
}

async function keySet(): Promise<string> {
  const { publicKey } = await keys;
  return JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "1", alg: "ES256" }] });
}

async function authenticator(t: ExecutionContext, file?: string): Promise<UserAuthenticator> {
  const path = file ?? join(temporaryFolder(t), "jwks.json");
  if (file === undefined) writeFileSync(path, await keySet());
  return new UserAuthenticator({
    users: NO_USERS,
    loopback: new LoopbackPolicy("auto", NO_USERS),
    allowPlainWithoutTls: false,
    certificateName: "commonName",
    failureDelayMs: 1,
    tokens: new TokenVerifier({ keys: path, issuer, audience: "sluice", userClaim: "sub" }),
    logger: SILENT,
  });
}

test("a token is a password, with any user name", async (t) => {
  const auth = await authenticator(t);
  const principal = await auth.checkPassword("whoever", await token(), peer);
  t.like(principal, { name: "ann", mechanism: "token", isAnonymous: false });
  const inTenMinutes = Date.now() + 600_000;
  t.true(Math.abs(principal!.expiresAt! - inTenMinutes) < 5000);
});

test("a token that is expired, of another issuer, for another audience or signed by another key is refused", async (t) => {
  const auth = await authenticator(t);
  const none = `${Buffer.from('{"alg":"none"}').toString("base64url")}.${Buffer.from('{"sub":"ann"}').toString("base64url")}.x`;
  for (const [why, bad] of [
    ["expired", await token({}, { expires: "-1m" })],
    ["issuer", await token({}, { from: "https://evil.example/" })],
    ["audience", await token({}, { audience: "other" })],
    ["key", await token({}, { by: otherKeys })],
    ["no name", await token({ sub: "" })],
    ["no signature", none],
    ["damaged", `${(await token()).slice(0, -4)}AAAA`],
    ["no token", "secret"],
  ] as const) {
    t.is(await auth.checkPassword("ann", bad, peer), undefined, why);
  }
});

test("XOAUTH2 and OAUTHBEARER carry it, and tell a client what is wrong", async (t) => {
  const auth = await authenticator(t);
  t.deepEqual(auth.mechanismsFor(peer), ["PLAIN", "XOAUTH2", "OAUTHBEARER"]);
  const good = await token();
  const say = (mechanism: string, ...texts: string[]): Promise<SaslStep[]> => {
    const exchange = auth.startSasl(mechanism, peer)!;
    return texts.reduce<Promise<SaslStep[]>>(
      async (steps, text) => [...(await steps), await exchange.step(Buffer.from(text))],
      Promise.resolve([]),
    );
  };
  const [bearer] = await say(
    "OAUTHBEARER",
    `n,a=ann,\u0001host=x\u0001auth=Bearer ${good}\u0001\u0001`,
  );
  t.like(bearer, { kind: "success", principal: { name: "ann", mechanism: "OAUTHBEARER" } });
  const [empty, late] = await say("XOAUTH2", "", `user=ann\u0001auth=Bearer ${good}\u0001\u0001`);
  t.like(empty, { kind: "challenge" });
  t.like(late, { kind: "success" });
  const [why, end] = await say("OAUTHBEARER", "n,,\u0001auth=Bearer ey.x.y\u0001\u0001", "\u0001");
  t.like(why, { kind: "challenge", data: Buffer.from('{"status":"invalid_token"}') });
  t.deepEqual(end, { kind: "failure", isTemporary: false });
});

test("keys come over HTTP too; a provider that does not answer is a temporary failure", async (t) => {
  let isUp = true;
  const body = await keySet();
  const provider = createServer((_, response) => {
    if (isUp) response.setHeader("content-type", "application/json").end(body);
    else response.destroy();
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => provider.once("listening", resolve));
  t.teardown(() => provider.close());
  const url = `http://127.0.0.1:${(provider.address() as AddressInfo).port}/jwks`;
  const auth = await authenticator(t, url);
  t.is((await auth.checkPassword("", await token(), peer))?.name, "ann");
  isUp = false;
  const fresh = await authenticator(t, url);
  await t.throwsAsync(fresh.checkPassword("", await token(), peer), {
    message: /cannot be fetched/,
  });
  const exchange = fresh.startSasl("XOAUTH2", peer)!;
  const step = await exchange.step(
    Buffer.from(`user=\u0001auth=Bearer ${await token()}\u0001\u0001`),
  );
  t.deepEqual(step, { kind: "failure", isTemporary: true });
  isUp = true;
  t.is((await fresh.checkPassword("", await token(), peer))?.name, "ann");
});

test("users of tokens have the rules for tokens, unless they are users here", (t) => {
  const ann = { name: "ann", password: "", scram: {}, allow: ["send queue:own"], deny: [] };
  const users = {
    size: 1,
    generation: 1,
    find: (name: string) => (name === "ann" ? ann : undefined),
  };
  const authorizer = new RuleAuthorizer(users, new LoopbackPolicy("auto", users), [
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a rule is written so
    "send queue:${user}",
  ]);
  const may = (name: string, queue: string, expiresAt?: number) =>
    authorizer
      .permissionsFor(
        { name, isAnonymous: false, mechanism: "token", ...(expiresAt ? { expiresAt } : {}) },
        "",
        peer,
      )
      .allows("send", makeAddress("queue", queue));
  t.true(may("bob", "bob", 1));
  t.false(may("bob", "eve", 1));
  t.false(may("bob", "bob"), "not without a token");
  t.true(may("ann", "own", 1));
  t.false(may("ann", "ann", 1));
});
