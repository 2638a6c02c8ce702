/** The admin app over a broker in memory, asked without a socket. */
import { createAdminApp } from "../../src/admin/app.ts";
import type { AdminSources } from "../../src/admin/sources.ts";
import { Inspection } from "../../src/broker/inspect.ts";
import { Operations } from "../../src/broker/operations.ts";
import { loadConfig } from "../../src/config/load.ts";
import { LoopbackPolicy } from "../../src/security/loopback.ts";
import { RuleAuthorizer } from "../../src/security/rule-authorizer.ts";
import { UserAuthenticator } from "../../src/security/user-authenticator.ts";
import { NO_USERS, type UserStore } from "../../src/security/users.ts";
import { SILENT } from "../../src/telemetry/log.ts";
import { ConnectionCounts } from "../../src/transport/listener.ts";
import { MEMORY_WIRE_INFO } from "../../src/transport/memory-wire.ts";
import type { WireInfo } from "../../src/transport/wire.ts";
import { openTestBroker } from "./test-broker.ts";

export const LOCAL: WireInfo = MEMORY_WIRE_INFO;
export const REMOTE: WireInfo = {
  ...LOCAL,
  remoteAddress: "192.0.2.7",
  isLoopback: false,
  isTls: true,
};

const JSON_TYPE = { "content-type": "application/json" };

export async function openTestAdmin(
  options: { users?: UserStore; settings?: string[]; sources?: Partial<AdminSources> } = {},
) {
  const { users = NO_USERS } = options;
  const test = await openTestBroker();
  const loopback = new LoopbackPolicy("auto", users);
  const authenticator = new UserAuthenticator({
    users,
    loopback,
    allowPlainWithoutTls: false,
    certificateName: "commonName",
    failureDelayMs: 1,
    logger: SILENT,
  });
  const app = createAdminApp({
    config: loadConfig({ settings: options.settings ?? [] }),
    logger: SILENT,
    inspection: new Inspection(test.broker),
    operations: new Operations(test.broker),
    delayed: test.broker.delayed,
    quotas: test.broker.quotas,
    authenticator,
    authorizer: new RuleAuthorizer(users, loopback),
    logins: authenticator,
    localToken: "token-of-this-start",
    transport: {
      counts: new ConnectionCounts(),
      traffic: () => ({ received: 11, sent: 22 }),
      keptBytes: () => 0,
    },
    isReady: () => true,
    ...options.sources,
  });
  return {
    ...test,
    get(path: string, peer = LOCAL, headers: Record<string, string> = {}) {
      return this.send("GET", path, peer, headers);
    },
    async send(
      method: string,
      path: string,
      peer = LOCAL,
      headers: Record<string, string> = JSON_TYPE,
    ) {
      const request = new Request(`http://localhost${path}`, {
        method,
        headers: { host: "localhost:15672", ...headers },
      });
      const response = await app.fetch(request, { peer });
      const text = await response.text();
      const isJson = response.headers.get("content-type")?.startsWith("application/json");
      return {
        status: response.status,
        headers: response.headers,
        text,
        // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever came
        json: (isJson ? JSON.parse(text) : undefined) as any,
      };
    },
  };
}
