import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { Logins } from "../src/logins.ts";
import type { BrokerError } from "../src/model/errors.ts";
import { LoopbackPolicy } from "../src/security/loopback.ts";
import type { PeerInfo } from "../src/security/peer.ts";
import type { Principal } from "../src/security/principal.ts";
import { credentialsOf } from "../src/security/users.ts";
import { makeUser, UsersFile } from "../src/security/users-file.ts";
import { SILENT } from "../src/telemetry/log.ts";
import { temporaryFolder } from "./support/temporary-folder.ts";
import { openTestBroker } from "./support/test-broker.ts";
import { connect } from "./support/test-client.ts";

const PEER: PeerInfo = {
  remoteAddress: "127.0.0.1",
  remotePort: 1,
  listener: "main",
  isLoopback: true,
  isTls: true,
  certificate: null,
};

async function scene(t: ExecutionContext) {
  const { broker, close } = await openTestBroker();
  t.teardown(close);
  const users = new UsersFile(join(temporaryFolder(t), "users.toml"));
  users.put(await makeUser("ann", "one", []));
  const loopback = new LoopbackPolicy("auto", users);
  const logins = new Logins({ broker, users, loopback, logger: SILENT, loginLimitMs: 1000 });
  const ended: string[] = [];
  const come = (principal: Partial<Principal>, peer: Partial<PeerInfo> = {}) => {
    const who = { name: "ann", isAnonymous: false, mechanism: "PLAIN", ...principal };
    const connection = connect(broker, "", {
      principal: who,
      peer: { ...PEER, ...peer },
      close: (reason: BrokerError) => {
        ended.push(`${who.mechanism} ${reason.code}`);
        connection.close();
      },
    });
    return connection;
  };
  return { users, logins, ended, come };
}

test("another password ends who came with the one before, also one whose login was under way", async (t) => {
  const { users, logins, ended, come } = await scene(t);
  const before = credentialsOf(users.find("ann")!);
  come({ credentials: before });
  come({ mechanism: "EXTERNAL" });
  logins.followUsers(0);
  t.deepEqual(ended, []);
  users.put(await makeUser("ann", "two", []));
  logins.followUsers(1000);
  t.deepEqual(ended, ["PLAIN unauthorized"]);
  come({ credentials: credentialsOf(users.find("ann")!), mechanism: "NEW" });
  come({ credentials: before, mechanism: "LATE" });
  logins.followUsers(1999);
  t.deepEqual(ended, ["PLAIN unauthorized", "LATE unauthorized"]);
});

test("a user that is no more goes, and a right that changed sends nobody away", async (t) => {
  const { users, logins, ended, come } = await scene(t);
  come({ credentials: credentialsOf(users.find("ann")!) });
  users.put({ ...users.find("ann")!, allow: ["send queue:a"] });
  logins.followUsers(0);
  t.deepEqual(ended, []);
  users.put(await makeUser("bob", "x", []));
  users.remove("ann");
  logins.followUsers(5000);
  t.deepEqual(ended, ["PLAIN unauthorized"]);
});

test("a token ends when its time is over, and not before", async (t) => {
  const { logins, ended, come } = await scene(t);
  come({ mechanism: "token", expiresAt: 5000 });
  logins.endExpired(4999);
  t.deepEqual(ended, []);
  logins.endExpired(5000);
  t.deepEqual(ended, ["token login-expired"]);
});

test("a certificate that is not good any more ends the logins by it, and every connection where it is required", async (t) => {
  const { logins, ended, come } = await scene(t);
  const certificate = { subject: "CN=ann", commonName: "ann" };
  const other = { subject: "CN=bob", commonName: "bob" };
  const isTrusted = (it: { commonName: string }) => it.commonName !== "ann";
  come({ mechanism: "EXTERNAL" }, { certificate });
  come({ mechanism: "EXTERNAL" }, { certificate: other });
  come({ mechanism: "password" }, { certificate });
  come({ mechanism: "none" });
  logins.endDistrusted(false, isTrusted);
  t.deepEqual(ended, ["EXTERNAL unauthorized"]);
  logins.endDistrusted(true, isTrusted);
  t.deepEqual(ended, ["EXTERNAL unauthorized", "password unauthorized"]);
});
