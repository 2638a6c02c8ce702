/**
 * Certificates without any other tool: an authority of one's own and what it signs, for development, tests and closed
 * networks (`sluice tls`). EC P-256 keys, SHA-256 signatures, X.509 v3 in DER written by hand.
 */
import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign as signBytes,
  X509Certificate,
} from "node:crypto";
import { isIP } from "node:net";

export interface Issued {
  readonly certificate: string;
  readonly key: string;
}

export interface Authority extends Issued {
  /** A certificate for a server by these names and addresses; the first is its common name. */
  issueServer(names: readonly string[], days?: number): Issued;
  /** A certificate for a client called `name`. */
  issueClient(name: string, days?: number): Issued;
  /** A list that revokes certificates of this authority, PEM. */
  issueRevocations(certificates: readonly X509Certificate[], days?: number): string;
}

const DAYS = 825;
const AUTHORITY_DAYS = 3650;
const OID = {
  commonName: "2.5.4.3",
  ecdsaSha256: "1.2.840.10045.4.3.2",
  subjectKey: "2.5.29.14",
  keyUsage: "2.5.29.15",
  alternativeName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  revocationNumber: "2.5.29.20",
  authorityKey: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

export function createAuthority(name: string, days = AUTHORITY_DAYS): Authority {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const certificate = toPem(
    "CERTIFICATE",
    signed(
      name,
      name,
      publicKey,
      days,
      [
        extension(OID.basicConstraints, true, sequence(tagged(0x01, Buffer.from([0xff])))),
        // keyCertSign and cRLSign.
        extension(OID.keyUsage, true, bits(0x06, 1)),
        extension(OID.subjectKey, false, tagged(0x04, identifierOf(publicKey))),
      ],
      privateKey,
    ),
  );
  return openAuthority(certificate, privateKey.export({ type: "pkcs8", format: "pem" }) as string);
}

/** An authority from its PEM texts. Throws when they do not belong together. */
export function openAuthority(certificate: string, key: string): Authority {
  const own = new X509Certificate(certificate);
  const privateKey = createPrivateKey(key);
  if (!own.checkPrivateKey(privateKey)) throw new Error("the key is not the certificate's");
  const name = /^CN=(.*)$/m.exec(own.subject)?.[1] ?? "";
  const keyId = identifierOf(own.publicKey);
  const leaf = (subject: string, validDays: number, purpose: string, names: Buffer[]): Issued => {
    const own = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const extensions = [
      extension(OID.basicConstraints, true, sequence()),
      extension(OID.keyUsage, true, bits(0x80, 7)),
      extension(OID.extendedKeyUsage, false, sequence(oid(purpose))),
      ...(names.length === 0 ? [] : [extension(OID.alternativeName, false, sequence(...names))]),
      extension(OID.subjectKey, false, tagged(0x04, identifierOf(own.publicKey))),
      extension(OID.authorityKey, false, sequence(tagged(0x80, keyId))),
    ];
    return {
      key: own.privateKey.export({ type: "pkcs8", format: "pem" }) as string,
      certificate: toPem(
        "CERTIFICATE",
        signed(name, subject, own.publicKey, validDays, extensions, privateKey),
      ),
    };
  };
  return {
    key,
    certificate,
    issueServer: (names, validDays = DAYS) =>
      leaf(names[0] ?? "localhost", validDays, OID.serverAuth, names.map(alternativeName)),
    issueClient: (client, validDays = DAYS) => leaf(client, validDays, OID.clientAuth, []),
    issueRevocations: (certificates, validDays = AUTHORITY_DAYS) =>
      toPem("X509 CRL", revocations(name, certificates, validDays, keyId, privateKey)),
  };
}

function signed(
  issuer: string,
  subject: string,
  publicKey: KeyObject,
  days: number,
  extensions: Buffer[],
  signer: KeyObject,
): Buffer {
  const algorithm = sequence(oid(OID.ecdsaSha256));
  const now = Date.now();
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  const body = sequence(
    tagged(0xa0, tagged(0x02, Buffer.from([2]))),
    tagged(0x02, serial),
    algorithm,
    distinguishedName(issuer),
    sequence(time(now - 3_600_000), time(now + days * 86_400_000)),
    distinguishedName(subject),
    publicKey.export({ type: "spki", format: "der" }),
    tagged(0xa3, sequence(...extensions)),
  );
  return sequence(
    body,
    algorithm,
    tagged(0x03, Buffer.concat([ZERO, signBytes("sha256", body, signer)])),
  );
}

/** RFC 5280 §5: a list of version 2. */
function revocations(
  issuer: string,
  certificates: readonly X509Certificate[],
  days: number,
  keyId: Buffer,
  signer: KeyObject,
): Buffer {
  const algorithm = sequence(oid(OID.ecdsaSha256));
  const now = Date.now();
  const number = Buffer.alloc(6);
  number.writeUIntBE(now, 0, 6);
  const revoked = certificates.map(({ serialNumber }) => {
    const serial = Buffer.from(serialNumber, "hex");
    const content = serial[0]! >= 0x80 ? Buffer.concat([ZERO, serial]) : serial;
    return sequence(tagged(0x02, content), time(now));
  });
  const body = sequence(
    tagged(0x02, Buffer.from([1])),
    algorithm,
    distinguishedName(issuer),
    time(now - 3_600_000),
    time(now + days * 86_400_000),
    ...(revoked.length === 0 ? [] : [sequence(...revoked)]),
    tagged(
      0xa0,
      sequence(
        extension(OID.authorityKey, false, sequence(tagged(0x80, keyId))),
        extension(OID.revocationNumber, false, tagged(0x02, number)),
      ),
    ),
  );
  const signature = Buffer.concat([ZERO, signBytes("sha256", body, signer)]);
  return sequence(body, algorithm, tagged(0x03, signature));
}

// ── DER ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

const ZERO = Buffer.from([0]);

function tagged(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const head =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), content]);
}

const sequence = (...parts: Buffer[]): Buffer => tagged(0x30, Buffer.concat(parts));

/** A bit string of one byte. */
const bits = (value: number, unused: number): Buffer => tagged(0x03, Buffer.from([unused, value]));

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const groups = [part & 0x7f];
    for (let left = part >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return tagged(0x06, Buffer.from(bytes));
}

const distinguishedName = (name: string): Buffer =>
  sequence(tagged(0x31, sequence(oid(OID.commonName), tagged(0x0c, Buffer.from(name)))));

/** GeneralizedTime throughout; RFC 5280 wants UTCTime before 2050. */
function time(ms: number): Buffer {
  const text = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, "");
  return Number(text.slice(0, 4)) < 2050
    ? tagged(0x17, Buffer.from(text.slice(2)))
    : tagged(0x18, Buffer.from(text));
}

const extension = (id: string, isCritical: boolean, value: Buffer): Buffer =>
  sequence(
    oid(id),
    ...(isCritical ? [tagged(0x01, Buffer.from([0xff]))] : []),
    tagged(0x04, value),
  );

function alternativeName(name: string): Buffer {
  switch (isIP(name)) {
    case 4:
      return tagged(0x87, Buffer.from(name.split(".").map(Number)));
    case 6:
      return tagged(0x87, ipv6Bytes(name));
    default:
      return tagged(0x82, Buffer.from(name));
  }
}

function ipv6Bytes(address: string): Buffer {
  const bytes = Buffer.alloc(16);
  const [head = "", tail] = address.split("::");
  const groups = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
  const last = groups(tail ?? "");
  for (const [i, group] of groups(head).entries()) bytes.writeUInt16BE(group, i * 2);
  for (const [i, group] of last.entries()) bytes.writeUInt16BE(group, 16 - (last.length - i) * 2);
  return bytes;
}

const identifierOf = (key: KeyObject): Buffer =>
  createHash("sha256")
    .update(key.export({ type: "spki", format: "der" }))
    .digest()
    .subarray(0, 20);

function toPem(label: string, der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
