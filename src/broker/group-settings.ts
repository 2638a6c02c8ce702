/** Settings of groups: those of a queue's own, and the filter that a subscription's settings spell. */
import type { GroupSettings } from "./consumer-group.ts";
import type { SubscriptionIdentity } from "./facade.ts";
import { bothOf, type MessageFilter } from "./filter.ts";
import { noLocalFilter, pathFilter, tagFilter } from "./path-filter.ts";
import { isWild, restOf } from "./topic-root.ts";

/** The name of a subscription's group. */
export const groupNameOf = ({ isDurable, clientId, name }: SubscriptionIdentity): string =>
  `${isDurable ? "" : "~volatile-"}${clientId === "" ? "~global" : clientId}/${name}`;

/** The settings of a queue's own group: two objects for all. */
export const ownGroupSettings = (isDurable: boolean): GroupSettings =>
  isDurable ? DURABLE_OWN : VOLATILE_OWN;

const DURABLE_OWN = makeOwn(true);
const VOLATILE_OWN = makeOwn(false);

function makeOwn(isDurable: boolean): GroupSettings {
  return {
    name: "",
    isDurable,
    isOrdered: false,
    isVolatile: false,
    filter: null,
    identity: null,
    tags: "",
    selector: "",
    noLocal: false,
    path: "",
  };
}

/** The same with its filter: written out, so that the groups of a topic share one shape. */
export function withFilter(
  settings: Omit<GroupSettings, "filter">,
  filter: MessageFilter | null,
): GroupSettings {
  const { name, isDurable, isOrdered, isVolatile, identity, tags, selector, noLocal, path } =
    settings;
  return {
    name,
    isDurable,
    isOrdered,
    isVolatile,
    filter,
    identity,
    tags,
    selector,
    noLocal,
    path,
  };
}

/** The filter that a group's settings spell. */
export function filterOf(
  settings: Omit<GroupSettings, "filter">,
  clientId: string,
  compileSelector: (text: string) => MessageFilter,
): MessageFilter | null {
  const rest = restOf(settings.path);
  // A tag expression is about tags below the root, in the path or beside it (spec protocols.md §3.2).
  const isAnyRest = rest === "" && settings.tags !== "";
  // Wildcards in the first level: the routes have seen to it.
  const isByPath = settings.path !== "" && !isWild(settings.path) && !isAnyRest;
  let filter = isByPath ? pathFilter(rest) : null;
  filter = bothOf(filter, settings.tags === "" ? null : tagFilter(settings.tags));
  if (settings.noLocal) filter = bothOf(filter, noLocalFilter(clientId));
  if (settings.selector !== "") filter = bothOf(filter, compileSelector(settings.selector));
  return filter;
}
