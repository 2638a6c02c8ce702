/**
 * TLS for accepted sockets: one context for all listeners, read again when its files change, without touching the
 * connections that are there.
 */
import { readFileSync, statSync } from "node:fs";
import type * as net from "node:net";
import * as tls from "node:tls";
import type { Logger } from "../telemetry/log.ts";

export interface TlsFiles {
  readonly certificate: string;
  readonly key: string;
  /** "" for the system's authorities. */
  readonly clientCa: string;
  readonly clientCertificate: "none" | "request" | "require";
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
  readonly handshakeTimeoutMs: number;
}

/** A certificate that cannot be used; one sentence. */
export class TlsFilesError extends Error {}

export type ClientCertificate = { readonly subject: string; readonly commonName: string };

interface Handshake {
  done(socket: tls.TLSSocket, certificate: ClientCertificate | null): void;
  failed(error: Error): void;
}

export class TlsTerminator {
  #files: TlsFiles;
  readonly #server: tls.Server;
  readonly #handshakes = new WeakMap<object, Handshake>();
  #stamp: string;

  /** Throws TlsFilesError. */
  constructor(files: TlsFiles) {
    this.#files = files;
    this.#stamp = this.#stampOf();
    this.#server = tls.createServer({
      ...this.#read(),
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
  configure(files: Pick<TlsFiles, "certificate" | "key" | "clientCa" | "minVersion">): () => void {
    const before = this.#files;
    const next = { ...before, ...files };
    this.#files = next;
    let options: tls.SecureContextOptions;
    try {
      options = this.#read();
    } finally {
      this.#files = before;
    }
    return () => {
      this.#files = next;
      this.#stamp = this.#stampOf();
      this.#server.setSecureContext(options);
    };
  }

  /** Reads the files again if they changed; new connections get the new certificate. */
  refresh(logger: Logger): void {
    try {
      const stamp = this.#stampOf();
      if (stamp === this.#stamp) return;
      this.#stamp = stamp;
      this.#server.setSecureContext(this.#read());
      logger.info("tls.reloaded", { certificate: this.#files.certificate });
    } catch (error) {
      logger.error("tls.unusable", {
        message: `${(error as Error).message}; the certificate of before stays in use`,
      });
    }
  }

  #read(): tls.SecureContextOptions {
    const { certificate, key, clientCa, minVersion } = this.#files;
    const options: tls.SecureContextOptions = {
      cert: readPem("tls.certificate", certificate),
      key: readPem("tls.key", key),
      minVersion,
      ...(clientCa === "" ? {} : { ca: readPem("tls.clientCa", clientCa) }),
    };
    try {
      tls.createSecureContext(options);
    } catch (error) {
      throw new TlsFilesError(
        `tls.certificate ${certificate} and tls.key ${key} do not work together: ${(error as Error).message}`,
      );
    }
    return options;
  }

  #stampOf(): string {
    const { certificate, key, clientCa } = this.#files;
    return [certificate, key, clientCa]
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
  return { subject: parts.reverse().join(","), commonName };
}
