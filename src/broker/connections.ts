/** Who is connected: client ids, quotas and rights are asked on the way in, and what a connection holds is given back. */
import type { Authorizer } from "../security/authorizer.ts";
import type { Broker } from "./broker.ts";
import { ClientIds } from "./client-ids.ts";
import { Connection } from "./connection.ts";
import type { ConnectRequest } from "./facade.ts";

export class Connections {
  readonly byId = new Map<number, Connection>();
  readonly #broker: Broker;
  readonly #authorizer: Authorizer;
  readonly #clientIds = new ClientIds();
  #nextId = 1;

  constructor(broker: Broker, authorizer: Authorizer) {
    this.#broker = broker;
    this.#authorizer = authorizer;
  }

  open(request: ConnectRequest): Connection {
    const { quotas } = this.#broker;
    this.#clientIds.claim(request);
    quotas.admit(request);
    const peer = request.peer ?? {
      remoteAddress: request.remoteAddress,
      remotePort: request.remotePort,
      listener: "",
      isLoopback: true,
      isTls: false,
      certificate: null,
    };
    const { principal, clientId } = request;
    const permissions = this.#authorizer.permissionsFor(principal, clientId, peer);
    const connection = new Connection(this.#broker, this.#nextId++, request, permissions);
    connection.gate = quotas.gateFor(request);
    this.byId.set(connection.id, connection);
    quotas.opened(request);
    this.#clientIds.add(connection);
    return connection;
  }

  closed(connection: Connection): void {
    this.byId.delete(connection.id);
    this.#broker.quotas.closed(connection.request);
    this.#clientIds.remove(connection);
  }

  closeAll(): void {
    for (const connection of [...this.byId.values()]) connection.close();
  }
}
