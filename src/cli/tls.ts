/** `sluice tls`: certificates for closed networks and for trying things out, without any other tool. */
import { X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { createAuthority, openAuthority } from "../security/self-signed.ts";
import { EXIT, StartError } from "../start-error.ts";

export function addTlsCommands(program: Command): void {
  const tls = program.command("tls").description("certificates of one's own");

  tls
    .command("create [names...]")
    .description("an authority and a server certificate for these host names and addresses")
    .option("--out <dir>", "where to put them", "tls")
    .action((names: string[], { out }: { out: string }) => {
      const folder = resolve(out);
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const all = names.length > 0 ? names : [hostname(), "localhost", "127.0.0.1", "::1"];
      const authority = existsSync(join(folder, "ca.pem"))
        ? authorityIn(folder)
        : createAuthority("Sluice authority");
      write(join(folder, "ca.pem"), authority.certificate);
      write(join(folder, "ca-key.pem"), authority.key);
      const server = authority.issueServer(all);
      write(join(folder, "server.pem"), server.certificate + authority.certificate);
      write(join(folder, "server-key.pem"), server.key);
      process.stdout.write(
        `certificate for ${all.join(", ")}; in the configuration:\n\n[tls]\ncertificate = "${join(folder, "server.pem")}"\nkey = "${join(folder, "server-key.pem")}"\n\nclients trust ${join(folder, "ca.pem")}\n`,
      );
    });

  tls
    .command("client <name>")
    .description("a client certificate, signed by the authority of `tls create`")
    .option("--out <dir>", "where the authority is", "tls")
    .action((name: string, { out }: { out: string }) => {
      if (!/^[\w.@-]+$/.test(name)) {
        throw new StartError(
          EXIT.BAD_CONFIGURATION,
          `${name}: expected letters, digits and . @ _ -`,
        );
      }
      const folder = resolve(out);
      const client = authorityIn(folder).issueClient(name);
      write(join(folder, `${name}.pem`), client.certificate);
      write(join(folder, `${name}-key.pem`), client.key);
      process.stdout.write(
        `${join(folder, `${name}.pem`)} and ${join(folder, `${name}-key.pem`)}; in the configuration:\n\n[tls]\nclientCa = "${join(folder, "ca.pem")}"\nclientCertificate = "request"\n`,
      );
    });

  tls
    .command("revoke <name>")
    .description("take a client certificate back: it is entered in the authority's revocation list")
    .option("--out <dir>", "where the authority is", "tls")
    .action((name: string, { out }: { out: string }) => {
      const folder = resolve(out);
      const authority = authorityIn(folder);
      const file = join(folder, `${name}.pem`);
      if (!existsSync(file)) {
        throw new StartError(EXIT.BAD_CONFIGURATION, `${file}: there is no such certificate`);
      }
      // What was revoked is kept: each list names everything so far.
      const kept = join(folder, "revoked");
      mkdirSync(kept, { recursive: true, mode: 0o700 });
      const text = readFileSync(file, "utf8");
      const { serialNumber } = new X509Certificate(text);
      write(join(kept, `${name}-${serialNumber}.pem`), text);
      const all = readdirSync(kept).map(
        (each) => new X509Certificate(readFileSync(join(kept, each))),
      );
      const list = join(folder, "revoked.pem");
      write(list, authority.issueRevocations(all));
      rmSync(file);
      process.stdout.write(
        `${list} revokes ${all.length}; in the configuration:\n\n[tls]\nclientRevocations = "${list}"\n`,
      );
    });
}

function authorityIn(folder: string) {
  try {
    const read = (name: string): string => readFileSync(join(folder, name), "utf8");
    return openAuthority(read("ca.pem"), read("ca-key.pem"));
  } catch (error) {
    throw new StartError(
      EXIT.BAD_CONFIGURATION,
      `no authority in ${folder} ("sluice tls create" makes one): ${(error as Error).message}`,
    );
  }
}

const write = (file: string, text: string): void => writeFileSync(file, text, { mode: 0o600 });
