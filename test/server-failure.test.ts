/** What a server makes of a disk that fails: it goes on without publishing, or wants to end, as it was told. */
import test from "ava";
import { loadConfig } from "../src/config/load.ts";
import { Server } from "../src/server.ts";
import { SILENT } from "../src/telemetry/log.ts";
import { FaultyStorage } from "./support/faulty-storage.ts";
import { makeStore } from "./support/log-broker.ts";
import { Random } from "./support/random.ts";
import { temporaryFolder } from "./support/temporary-folder.ts";
import { connect, draft, queue, settle } from "./support/test-client.ts";

for (const [onFailure, ends] of [
  ["stop", true],
  ["read-only", false],
] as const) {
  test(`store.onFailure = "${onFailure}": a failed sync ${ends ? "asks for the end of the process" : "leaves the process alone"}`, async (t) => {
    const disk = new FaultyStorage(new Random(1));
    const config = loadConfig({
      data: temporaryFolder(t),
      settings: [`store.onFailure=${onFailure}`],
      port: "0",
    });
    const server = await Server.start({ config, logger: SILENT, store: makeStore(disk) });
    t.teardown(() => server.stop());
    disk.fail({ operation: "sync", code: "EIO", path: /commitlog/ });
    connect(server.broker).openTarget(queue("q")).publish(draft("one"));
    for (let i = 0; i < 200 && server.broker.blocked === null; i++) await settle();
    t.regex(server.broker.blocked?.reason ?? "", /EIO/);
    const why = await Promise.race([server.failed, settle(50).then(() => "")]);
    t.is(/EIO/.test(why), ends);
  });
}
