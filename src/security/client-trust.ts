/**
 * Is a client's certificate, which was good at the handshake, good still? Asked when the authorities or the revocation lists
 * are others than then. New handshakes are checked by OpenSSL with the same files; this is for the connections that stand.
 */
import { X509Certificate } from "node:crypto";
import { rootCertificates } from "node:tls";
import { elementsOf, sequenceOf, TAG } from "./der.ts";
import type { ClientCertificate } from "./peer.ts";

const PEM = /-----BEGIN (CERTIFICATE|X509 CRL)-----[^-]*-----END \1-----/g;

export class ClientTrust {
  readonly #authorities: readonly X509Certificate[];
  /** `<issuer> <serial number>`, both in hex. */
  readonly #revoked: ReadonlySet<string>;

  /** From PEM texts; without authorities it is the system's that count. Throws where one cannot be read. */
  constructor(authorities: string | null, revocations: string | null) {
    const trusted = authorities === null ? rootCertificates : blocksOf(authorities, "CERTIFICATE");
    this.#authorities = trusted.map((pem) => new X509Certificate(pem));
    const lists = revocations === null ? [] : blocksOf(revocations, "X509 CRL");
    if (revocations !== null && lists.length === 0) throw new Error("no revocation list in it");
    this.#revoked = new Set(lists.flatMap((pem) => revokedIn(derOf(pem))));
  }

  /** Revoked: neither. Else some certificate of the chain has to be an authority's own, or signed by one. */
  trusts({ chain }: ClientCertificate): boolean {
    if (chain === undefined) return true;
    for (const [at, certificate] of chain.entries()) {
      if (this.#revoked.has(identityOf(certificate))) return false;
      if (this.#authorities.some((authority) => isFrom(certificate, authority))) return true;
      const next = chain[at + 1];
      if (next === undefined || !isIssued(certificate, next)) return false;
    }
    return false;
  }
}

const isFrom = (certificate: X509Certificate, authority: X509Certificate): boolean =>
  certificate.raw.equals(authority.raw) || isIssued(certificate, authority);

const isIssued = (certificate: X509Certificate, by: X509Certificate): boolean =>
  certificate.checkIssued(by) && certificate.verify(by.publicKey);

const blocksOf = (text: string, label: string): string[] =>
  [...text.matchAll(PEM)].filter((match) => match[1] === label).map((match) => match[0]);

const derOf = (pem: string): Buffer =>
  Buffer.from(pem.replace(/-----[^-]+-----/g, "").replace(/\s/g, ""), "base64");

/** RFC 5280 §5.1: version (optional), signature, issuer, thisUpdate, nextUpdate (optional), revoked certificates. */
function revokedIn(list: Buffer): string[] {
  const [body] = sequenceOf(list);
  const parts = elementsOf(body!.content);
  const issuer = parts[parts[0]?.tag === TAG.INTEGER ? 2 : 1]!.bytes.toString("hex");
  // The first sequence after the issuer; without it the list is empty.
  const from = parts[0]?.tag === TAG.INTEGER ? 3 : 2;
  const revoked = parts.slice(from).find(({ tag }) => tag === TAG.SEQUENCE);
  if (revoked === undefined) return [];
  return elementsOf(revoked.content).map(({ content }) => {
    const [serial] = elementsOf(content);
    return `${issuer} ${serial!.content.toString("hex")}`;
  });
}

/** RFC 5280 §4.1: version (tagged, optional), serial number, signature, issuer. */
function identityOf({ raw }: X509Certificate): string {
  const [body] = sequenceOf(raw);
  const parts = elementsOf(body!.content);
  const at = parts[0]?.tag === TAG.CONTEXT_0 ? 1 : 0;
  return `${parts[at + 2]!.bytes.toString("hex")} ${parts[at]!.content.toString("hex")}`;
}
