/** Opens destinations for producers: which node an address means, whether this peer may send there, and the target itself. */
import { type Address, isTopicKind, makeAddress } from "../model/address.ts";
import { BrokerError } from "../model/errors.ts";
import { hasWildcard } from "../model/topic-path.ts";
import type { Connection } from "./connection.ts";
import type { NodeDirectory } from "./node-directory.ts";
import type { NodeGroups } from "./node-groups.ts";
import { templateFor } from "./session-core.ts";
import { Target, type TargetHost } from "./target.ts";

export interface TargetOpenerHost extends TargetHost {
  readonly directory: NodeDirectory;
  readonly registry: { readonly groups: Pick<NodeGroups, "growTo"> };
}

export function openTarget(
  host: TargetOpenerHost,
  connection: Connection,
  address: Address,
  options: { readonly mustExist?: boolean },
): Target {
  if (isTopicKind(address.kind) && hasWildcard(address.name)) {
    throw new BrokerError(
      "invalid-address",
      `'${address.name}' has wildcards: they are for receiving; send to one topic`,
    );
  }
  const node = host.directory.nodeFor(connection, address, options.mustExist ?? false);
  const resolved = makeAddress(
    node.address.kind,
    node.kind === "topic" ? address.name : node.address.name,
    { ...node.address, tags: address.tags },
  );
  connection.demand("send", resolved);
  host.registry.groups.growTo(node, node.settings.shards);
  node.producerCount++;
  const template = templateFor(node, resolved);
  return new Target(
    host,
    resolved,
    node,
    template,
    connection.id,
    connection.bornHost,
    connection.clientId,
    connection.session,
  );
}
