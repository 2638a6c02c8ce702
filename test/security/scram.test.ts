import test from "ava";
import {
  makeVerifier,
  parseClientFirst,
  parseVerifier,
  printVerifier,
  ScramServer,
} from "../../src/security/scram.ts";

const VECTORS = [
  {
    title: "RFC 7677, SCRAM-SHA-256",
    hash: "sha256",
    salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
    clientNonce: "rOprNGfwEbeRWgbNEkqO",
    serverNonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    proof: "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    signature: "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
  },
  {
    title: "RFC 5802, SCRAM-SHA-1",
    hash: "sha1",
    salt: "QSXCR+Q6sek8bf92",
    clientNonce: "fyko+d2lbbFgONRv9qkxdawL",
    serverNonce: "3rfcNHYJY1ZVvWVs7j",
    proof: "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    signature: "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
  },
] as const;

for (const vector of VECTORS) {
  test(`the exchange of ${vector.title} comes out to the byte`, async (t) => {
    const salt = Buffer.from(vector.salt, "base64");
    const verifier = await makeVerifier(vector.hash, "pencil", salt, 4096);
    const first = parseClientFirst(`n,,n=user,r=${vector.clientNonce}`)!;
    const server = new ScramServer(vector.hash, first, verifier, vector.serverNonce);
    const nonce = vector.clientNonce + vector.serverNonce;
    t.is(server.challenge, `r=${nonce},s=${vector.salt},i=4096`);
    t.is(server.finish(`c=biws,r=${nonce},p=${vector.proof}`), `v=${vector.signature}`);
    const wrong = `A${vector.proof.slice(1)}`;
    const again = new ScramServer(vector.hash, first, verifier, vector.serverNonce);
    t.is(again.finish(`c=biws,r=${nonce},p=${wrong}`), undefined);
  });
}

test("a client's first message that is malformed or wants more than we offer is refused", (t) => {
  const refused = [
    "",
    "n,,n=user",
    "n,,n=,r=abc",
    "p=tls-unique,,n=user,r=abc",
    "n,,m=ext,n=user,r=abc",
    "n,,n=us=er,r=abc",
    "n,,n=user,r=",
    "n,,n=user,r=a b",
    "n,n=user,r=abc",
  ];
  for (const message of refused) t.is(parseClientFirst(message), undefined, message);
  t.like(parseClientFirst("y,a=x=2Cy,n=x=2Cy=3D,r=abc,ext=1"), {
    user: "x,y=",
    authorization: "x,y",
    nonce: "abc",
    gs2Header: "y,a=x=2Cy,",
  });
});

test("a final message of another exchange, or with another header, is refused", async (t) => {
  const verifier = await makeVerifier("sha256", "pencil", Buffer.alloc(16, 1), 1000);
  const first = parseClientFirst("n,,n=user,r=abc")!;
  const server = new ScramServer("sha256", first, verifier, "xyz");
  const proof = Buffer.alloc(32).toString("base64");
  for (const message of [
    `c=biws,r=abc,p=${proof}`,
    `c=eSws,r=abcxyz,p=${proof}`,
    `c=biws,r=abcxyz,p=${Buffer.alloc(31).toString("base64")}`,
    `c=biws,r=abcxyz`,
    "",
  ]) {
    t.is(server.finish(message), undefined, message);
  }
});

test("a verifier reads back from its text", async (t) => {
  const verifier = await makeVerifier("sha512", "x", Buffer.alloc(16, 9), 4096);
  t.deepEqual(parseVerifier(printVerifier("SCRAM-SHA-512", verifier)), verifier);
  t.is(parseVerifier("SCRAM-SHA-512$x"), undefined);
});
