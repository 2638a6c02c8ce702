/**
 * TLS for accepted sockets: one context for all listeners, read again when its files change, without touching the
 * connections that are there.
 */
import type { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import type * as net from "node:net";
import * as tls from "node:tls";
import { ClientTrust } from "../security/client-trust.ts";
import type { ClientCertificate } from "../security/peer.ts";
import type { Logger } from "../telemetry/log.ts";

export interface TlsFiles {
  readonly certificate: string;
  readonly key: string;
  /** "" for the system's authorities. */
  readonly clientCa: string;
  /** Revocation lists; "" for none. */
  readonly clientRevocations: string;
  readonly clientCertificate: "none" | "request" | "require";
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
  readonly handshakeTimeoutMs: number;
}

/** A certificate that cannot be used; one sentence. */
export class TlsFilesError extends Error {}

/** Longer chains nobody has. */
const CHAIN_MAX = 8;

type ExchangedFiles = Pick<
  TlsFiles,
  "certificate" | "key" | "clientCa" | "clientRevocations" | "minVersion"
>;

/** What the files amount to. */
interface Material {
  readonly options: tls.SecureContextOptions;
  /** Null where no client is asked for a certificate. */
  readonly trust: ClientTrust | null;
}

interface Handshake {
  done(socket: tls.TLSSocket, certificate: ClientCertificate | null): void;
  failed(error: Error): void;
}

export class TlsTerminator {
  #files: TlsFiles;
  readonly #server: tls.Server;
  readonly #handshakes = new WeakMap<object, Handshake>();
  #stamp: string;
  #trust: ClientTrust | null;
  /** How often the files were others: certificates of before may not be good any more. */
  changes = 0;

  /** Throws TlsFilesError. */
  constructor(files: TlsFiles) {
    this.#files = files;
    this.#stamp = this.#stampOf();
    const { options, trust } = this.#read();
    this.#trust = trust;
    this.#server = tls.createServer({
      ...options,
      handshakeTimeout: files.handshakeTimeoutMs,
      requestCert: files.clientCertificate !== "none",
      rejectUnauthorized: files.clientCertificate === "require",
    });
    this.#server.on("secureConnection", (socket) => {
      this.#handshakes.get(parentOf(socket))?.done(socket, certificateOf(socket));
    });
    this.#server.on("tlsClientError", (error, socket) => {
      this.#handshakes.get(parentOf(socket))?.failed(error);
    });
  }

  /** Begins the handshake on a socket whose first bytes were put back with `unshift`. */
  accept(socket: net.Socket, handshake: Handshake): void {
    this.#handshakes.set(socket, handshake);
    this.#server.emit("connection", socket);
  }

  /** Other files, read at once. Throws TlsFilesError and leaves everything as it was. */
  configure(files: ExchangedFiles): () => void {
    const before = this.#files;
    const next = { ...before, ...files };
    this.#files = next;
    let material: Material;
    try {
      material = this.#read();
    } finally {
      this.#files = before;
    }
    return () => {
      this.#files = next;
      this.#stamp = this.#stampOf();
      this.#use(material);
    };
  }

  /** Is a certificate that was good at its handshake good by the files of now? */
  trusts(certificate: ClientCertificate): boolean {
    return this.changes === 0 || this.#trust === null || this.#trust.trusts(certificate);
  }

  /** Whether clients cannot come without a certificate. */
  get isClientCertificateRequired(): boolean {
    return this.#files.clientCertificate === "require";
  }

  #use({ options, trust }: Material): void {
    this.#server.setSecureContext(options);
    this.#trust = trust;
    this.changes++;
  }

  /** Reads the files again if they changed; new connections get the new certificate. */
  refresh(logger: Logger): void {
    try {
      const stamp = this.#stampOf();
      if (stamp === this.#stamp) return;
      this.#stamp = stamp;
      this.#use(this.#read());
      logger.info("tls.reloaded", { certificate: this.#files.certificate });
    } catch (error) {
      logger.error("tls.unusable", {
        message: `${(error as Error).message}; the certificate of before stays in use`,
      });
    }
  }

  #read(): Material {
    const { certificate, key, clientCa, clientRevocations, minVersion } = this.#files;
    const authorities = clientCa === "" ? null : readPem("tls.clientCa", clientCa);
    const revocations =
      clientRevocations === "" ? null : readPem("tls.clientRevocations", clientRevocations);
    const options: tls.SecureContextOptions = {
      cert: readPem("tls.certificate", certificate),
      key: readPem("tls.key", key),
      minVersion,
      ...(authorities === null ? {} : { ca: authorities }),
      ...(revocations === null ? {} : { crl: revocations }),
    };
    try {
      tls.createSecureContext(options);
    } catch (error) {
      const files = [
        `tls.certificate ${certificate}`,
        `tls.key ${key}`,
        ...(clientCa === "" ? [] : [`tls.clientCa ${clientCa}`]),
        ...(clientRevocations === "" ? [] : [`tls.clientRevocations ${clientRevocations}`]),
      ];
      throw new TlsFilesError(
        `${files.join(", ")} do not work together: ${(error as Error).message}`,
      );
    }
    return { options, trust: this.#readTrust(authorities, revocations) };
  }

  #readTrust(authorities: Buffer | null, revocations: Buffer | null): ClientTrust | null {
    const { clientCa, clientRevocations, clientCertificate } = this.#files;
    if (clientCertificate === "none") return null;
    try {
      return new ClientTrust(
        authorities?.toString("latin1") ?? null,
        revocations?.toString("latin1") ?? null,
      );
    } catch (error) {
      throw new TlsFilesError(
        `tls.clientCa ${clientCa} or tls.clientRevocations ${clientRevocations} cannot be used: ${(error as Error).message}`,
      );
    }
  }

  #stampOf(): string {
    const { certificate, key, clientCa, clientRevocations } = this.#files;
    return [certificate, key, clientCa, clientRevocations]
      .filter((file) => file !== "")
      .map((file) => {
        const status = statSync(file, { throwIfNoEntry: false });
        return status === undefined ? "" : `${status.mtimeMs}:${status.size}:${status.ino}`;
      })
      .join();
  }
}

function readPem(key: string, file: string): Buffer {
  if (file === "")
    throw new TlsFilesError(`${key}: a certificate needs both tls.certificate and tls.key`);
  try {
    return readFileSync(file);
  } catch (error) {
    throw new TlsFilesError(
      `${key}: ${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? error})`,
    );
  }
}

/** The socket under a TLS socket: its constructor keeps it under this name. */
function parentOf(socket: tls.TLSSocket): object {
  return (socket as unknown as { _parent?: object })._parent ?? socket;
}

function certificateOf(socket: tls.TLSSocket): ClientCertificate | null {
  if (!socket.authorized) return null;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return null;
  const parts = certificate.subject.split("\n").filter((part) => part !== "");
  const commonName = parts.find((part) => part.startsWith("CN="))?.slice(3) ?? "";
  // Most specific part first, as RFC 4514 writes it.
  return { subject: parts.reverse().join(","), commonName, chain: chainOf(certificate) };
}

/** The certificate, then those that the client sent with it. */
function chainOf(certificate: X509Certificate): X509Certificate[] {
  const chain = [certificate];
  for (let next = certificate.issuerCertificate; next !== undefined; ) {
    if (chain.length >= CHAIN_MAX || next.raw.equals(chain.at(-1)!.raw)) break;
    chain.push(next);
    next = next.issuerCertificate;
  }
  return chain;
}
