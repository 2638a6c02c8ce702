import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { request } from "node:https";
import * as net from "node:net";
import { join } from "node:path";
import * as tls from "node:tls";
import test, { type ExecutionContext } from "ava";
import { createAuthority } from "../../src/security/self-signed.ts";
import { SILENT } from "../../src/telemetry/log.ts";
import { HttpGateway } from "../../src/transport/http-gateway.ts";
import { TransportLoop } from "../../src/transport/loop.ts";
import { type TlsFiles, TlsTerminator } from "../../src/transport/tls-terminator.ts";
import { Turn } from "../../src/util/turn.ts";
import { frame, frameAdapter, GREETING } from "../support/frames.ts";
import { listening } from "../support/listening.ts";
import { temporaryFile, temporaryFolder } from "../support/temporary-folder.ts";
import { closed, until } from "../support/wait.ts";

const authority = createAuthority("Sluice test CA");
const ca = authority.certificate;

function terminator(t: ExecutionContext, options: Partial<TlsFiles> = {}) {
  const folder = temporaryFolder(t);
  const files: TlsFiles = {
    certificate: join(folder, "cert.pem"),
    key: join(folder, "key.pem"),
    clientCa: join(folder, "ca.pem"),
    clientRevocations: "",
    clientCertificate: "none",
    minVersion: "TLSv1.2",
    handshakeTimeoutMs: 5000,
    ...options,
  };
  const put = (names: string[]) => {
    const issued = authority.issueServer(names);
    writeFileSync(files.certificate, issued.certificate + ca);
    writeFileSync(files.key, issued.key);
  };
  writeFileSync(join(folder, "ca.pem"), ca);
  put(["localhost"]);
  return { files, put, terminator: new TlsTerminator(files) };
}

async function echoed(socket: net.Socket, body: string): Promise<boolean> {
  const expected = frame(body);
  let received = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
  });
  socket.write(GREETING);
  socket.write(expected);
  await until("echo", () => received.length >= expected.length || socket.destroyed);
  return received.equals(expected);
}

const secure = (port: number, options: tls.ConnectionOptions = {}): tls.TLSSocket => {
  const socket = tls.connect({ port, host: "127.0.0.1", servername: "localhost", ca, ...options });
  socket.on("error", () => {});
  return socket;
};

test("TLS and plain share a port, and a large frame survives both", async (t) => {
  const adapter = frameAdapter({ echo: true });
  const { port } = await listening(t, {
    adapters: [adapter],
    tls: terminator(t).terminator,
  });
  t.true(await echoed(secure(port), "x".repeat(1_000_000)));
  t.true(await echoed(net.connect(port, "127.0.0.1"), "plain"));
  t.deepEqual(
    adapter.connections.map(({ wire }) => wire.info.isTls),
    [true, false],
  );
});

test("AMQP's own TLS header is answered, then TLS begins", async (t) => {
  const adapter = frameAdapter({ echo: true });
  const { port } = await listening(t, { adapters: [adapter], tls: terminator(t).terminator });
  const raw = net.connect(port, "127.0.0.1");
  raw.write("AMQP\x02\x01\0\0", "latin1");
  const [answer] = (await once(raw, "data")) as [Buffer];
  t.is(answer.toString("latin1"), "AMQP\x02\x01\0\0");
  t.true(await echoed(secure(port, { socket: raw }), "hello"));
});

test("where TLS is required, plain peers are turned away", async (t) => {
  const adapter = frameAdapter({ echo: true });
  const { port } = await listening(t, {
    adapters: [adapter],
    tls: terminator(t).terminator,
    isTlsRequired: true,
  });
  const plain = net.connect(port, "127.0.0.1");
  plain.write(GREETING);
  await closed(plain);
  t.true(await echoed(secure(port), "hello"));
  t.is(adapter.connections.length, 1);
});

test("a client certificate is told to the protocol when our authority signed it", async (t) => {
  const adapter = frameAdapter({ echo: true });
  const { port } = await listening(t, {
    adapters: [adapter],
    tls: terminator(t, { clientCertificate: "request" }).terminator,
  });
  const ann = authority.issueClient("ann");
  const stranger = createAuthority("Another CA").issueClient("ann");
  t.true(await echoed(secure(port, { cert: ann.certificate, key: ann.key }), "1"));
  t.true(await echoed(secure(port, { cert: stranger.certificate, key: stranger.key }), "2"));
  t.true(await echoed(secure(port), "3"));
  t.deepEqual(
    adapter.connections.map(({ wire }) => {
      const { certificate } = wire.info;
      return certificate === null ? null : [certificate.subject, certificate.commonName];
    }),
    [["CN=ann", "ann"], null, null],
  );
});

test("a revoked certificate is good for nothing, neither a new handshake nor a resumed session nor one that stands", async (t) => {
  const adapter = frameAdapter({ echo: true });
  const list = temporaryFile(t, "revoked.pem", authority.issueRevocations([]));
  const { terminator: ours, files } = terminator(t, {
    clientCertificate: "request",
    clientRevocations: list,
  });
  const { port } = await listening(t, { adapters: [adapter], tls: ours });
  const ann = authority.issueClient("ann");
  const bob = authority.issueClient("bob");
  const as = ({ certificate, key }: typeof ann, more: tls.ConnectionOptions = {}) =>
    secure(port, { cert: certificate, key, ...more });
  const first = as(ann);
  let session: Buffer | undefined;
  first.on("session", (ticket: Buffer) => {
    session = ticket;
  });
  t.true(await echoed(first, "1"));
  await until("a ticket", () => session !== undefined);
  const standing = adapter.connections[0]!.wire.info.certificate!;
  t.true(ours.trusts(standing));
  writeFileSync(list, authority.issueRevocations([new X509Certificate(ann.certificate)]));
  ours.refresh(SILENT);
  t.false(ours.trusts(standing));
  t.true(await echoed(as(ann), "2"));
  t.true(await echoed(as(ann, { session }), "3"));
  t.true(await echoed(as(bob), "4"));
  t.deepEqual(
    adapter.connections.map(({ wire }) => wire.info.certificate?.commonName ?? null),
    ["ann", null, null, "bob"],
  );
  t.true(ours.trusts(adapter.connections[3]!.wire.info.certificate!));
  // Rubbish leaves what was.
  writeFileSync(list, "rubbish");
  ours.refresh(SILENT);
  t.false(ours.trusts(standing));
  t.throws(() => new TlsTerminator({ ...files, clientRevocations: list }), {
    message: /clientRevocations .*revoked\.pem/,
  });
});

test("a required client certificate keeps strangers out", async (t) => {
  const adapter = frameAdapter({ echo: true });
  const { port, listener } = await listening(t, {
    adapters: [adapter],
    tls: terminator(t, { clientCertificate: "require" }).terminator,
  });
  const ann = authority.issueClient("ann");
  t.true(await echoed(secure(port, { cert: ann.certificate, key: ann.key }), "1"));
  const stranger = secure(port);
  stranger.write(GREETING);
  await closed(stranger);
  t.is(adapter.connections.length, 1);
  await until("counted out", () => listener.connections === 1);
});

test("a new certificate serves new connections, the old ones stay", async (t) => {
  const adapter = frameAdapter({ echo: true });
  const { terminator: tlsTerminator, put } = terminator(t);
  const { port } = await listening(t, { adapters: [adapter], tls: tlsTerminator });
  const before = secure(port);
  t.true(await echoed(before, "1"));
  t.is(before.getPeerCertificate().subject.CN, "localhost");
  put(["renewed", "localhost"]);
  tlsTerminator.refresh(SILENT);
  const after = secure(port);
  t.true(await echoed(after, "2"));
  t.is(after.getPeerCertificate().subject.CN, "renewed");
  before.write(frame("3"));
  await until("the old one still works", () => adapter.connections[0]!.frames.length === 2);
});

test("files that do not work are one sentence", (t) => {
  const { files } = terminator(t);
  t.throws(() => new TlsTerminator({ ...files, key: "" }), { message: /needs both/ });
  t.throws(() => new TlsTerminator({ ...files, key: "/nowhere/key" }), {
    message: "tls.key: /nowhere/key cannot be read (ENOENT)",
  });
  writeFileSync(files.key, createAuthority("x").key);
  t.throws(() => new TlsTerminator(files), { message: /do not work together/ });
});

test("garbage after the first TLS byte costs only that peer", async (t) => {
  const { port, listener } = await listening(t, {
    adapters: [frameAdapter()],
    tls: terminator(t).terminator,
  });
  const socket = net.connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.resume();
  socket.write(Buffer.concat([Buffer.from([0x16, 3, 1, 0, 5]), Buffer.alloc(50, 0xff)]));
  await closed(socket);
  await until("counted out", () => listener.connections === 0);
  t.true(await echoedNothing(port));
});

async function echoedNothing(port: number): Promise<boolean> {
  const socket = secure(port);
  await once(socket, "secureConnect");
  socket.destroy();
  return true;
}

test("HTTPS works on the same port", async (t) => {
  const loop = new TransportLoop(new Turn(), SILENT);
  const gateway = new HttpGateway(loop, {
    handler: (_, response, peer) => response.end(peer.isTls ? "secure" : "plain"),
    messageBytesMax: 1000,
    allowedOrigins: [],
  });
  const { port } = await listening(
    t,
    { tls: terminator(t).terminator, http: async () => gateway },
    {},
    loop,
  );
  const text = await new Promise<string>((resolve, reject) => {
    request({ port, host: "127.0.0.1", servername: "localhost", ca, agent: false }, (response) => {
      response.on("data", (chunk) => resolve(String(chunk)));
    })
      .on("error", reject)
      .end();
  });
  t.is(text, "secure");
});
