/** Which connection has which client id: one at a time per protocol, user and namespace, unless it may coexist. */
import { BrokerError } from "../model/errors.ts";
import type { Connection } from "./connection.ts";
import type { ConnectRequest } from "./facade.ts";

export class ClientIds {
  readonly #owners = new Map<string, Connection>();

  /** Makes way for the request: the older connection is closed, or the newer one refused. */
  claim(request: ConnectRequest): void {
    if (!isExclusive(request)) return;
    const other = this.#owners.get(keyOf(request));
    if (other === undefined) return;
    if (request.clientIdPolicy === "refuse") {
      throw new BrokerError(
        "resource-locked",
        `client id '${request.clientId}' is in use by a connection from ${other.request.remoteAddress}: close it or use another client id`,
      );
    }
    other.request.close(
      new BrokerError("connection-forced", `client id '${request.clientId}' connected again`),
    );
    other.close();
  }

  add(connection: Connection): void {
    const { request } = connection;
    if (isExclusive(request)) this.#owners.set(keyOf(request), connection);
  }

  remove(connection: Connection): void {
    const key = keyOf(connection.request);
    if (this.#owners.get(key) === connection) this.#owners.delete(key);
  }
}

const isExclusive = ({ clientId, clientIdPolicy }: ConnectRequest): boolean =>
  clientId !== "" && clientIdPolicy !== "coexist";

const keyOf = ({ protocol, namespace, principal, clientId }: ConnectRequest): string =>
  [protocol, namespace, principal.name, clientId].join("\x00");
