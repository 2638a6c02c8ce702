import { X509Certificate } from "node:crypto";
import test from "ava";
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
