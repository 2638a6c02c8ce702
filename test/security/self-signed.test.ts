import { X509Certificate } from "node:crypto";
import test from "ava";
import { ClientTrust } from "../../src/security/client-trust.ts";
import { createAuthority } from "../../src/security/self-signed.ts";

test("an authority signs certificates that hold for their names", (t) => {
  const authority = createAuthority("Sluice test CA");
  const ca = new X509Certificate(authority.certificate);
  t.true(ca.ca);
  t.true(ca.verify(ca.publicKey));
  const server = new X509Certificate(
    authority.issueServer(["localhost", "127.0.0.1", "::1", "2001:db8::5"]).certificate,
  );
  t.true(server.verify(ca.publicKey));
  t.true(server.checkIssued(ca));
  t.is(server.checkHost("localhost"), "localhost");
  t.is(server.checkIP("127.0.0.1"), "127.0.0.1");
  t.is(server.checkIP("2001:db8::5"), "2001:db8::5");
  t.is(server.checkHost("example.org"), undefined);
  t.is(new X509Certificate(authority.issueClient("ann").certificate).subject, "CN=ann");
});

test("a revocation list takes back what it names and nothing else, whoever's serial numbers are the same", (t) => {
  const [ours, theirs] = [createAuthority("ours"), createAuthority("theirs")];
  const client = (authority: typeof ours, name: string) => {
    const leaf = new X509Certificate(authority.issueClient(name).certificate);
    return { subject: `CN=${name}`, commonName: name, chain: [leaf] };
  };
  const [ann, bob, carl] = [client(ours, "ann"), client(ours, "bob"), client(theirs, "carl")];
  const both = ours.certificate + theirs.certificate;
  const none = ours.issueRevocations([]);
  t.true(new ClientTrust(both, none).trusts(ann));
  const list = ours.issueRevocations([ann.chain[0]!]);
  const trust = new ClientTrust(both, list + theirs.issueRevocations([]));
  t.false(trust.trusts(ann));
  t.true(trust.trusts(bob));
  t.true(trust.trusts(carl));
  // A list of one authority says nothing of another's certificates.
  const foreign = theirs.issueRevocations([ann.chain[0]!]);
  t.true(new ClientTrust(both, foreign).trusts(ann));
  t.throws(() => new ClientTrust(both, ours.certificate), { message: /no revocation list/ });
});

test("a certificate is good while an authority stands behind it, however long the chain that came", (t) => {
  const [old, next] = [createAuthority("old"), createAuthority("next")];
  const leaf = new X509Certificate(old.issueClient("ann").certificate);
  const ann = { subject: "CN=ann", commonName: "ann", chain: [leaf] };
  const withAuthority = { ...ann, chain: [leaf, new X509Certificate(old.certificate)] };
  const unrelated = { ...ann, chain: [leaf, new X509Certificate(next.certificate)] };
  const [before, after] = [
    new ClientTrust(old.certificate, null),
    new ClientTrust(next.certificate, null),
  ];
  t.true(before.trusts(ann));
  t.true(before.trusts(withAuthority));
  t.false(after.trusts(ann));
  t.false(after.trusts(withAuthority));
  t.false(after.trusts(unrelated), "beside it is not above it");
  t.true(new ClientTrust(old.certificate + next.certificate, null).trusts(ann));
});
