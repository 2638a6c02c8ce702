/**
 * The rule language, one for all protocols: `ACTIONS PATTERN`.
 *
 *   send,receive queue:orders            actions, separated by commas; `*` is every action
 *   receive topic:sensors/+/temperature  `+` is one level, `#` at the end any number of levels, `text#` what begins so
 *   * queue:${user}/#                    ${user} and ${clientId} stand for the peer's own
 *   browse *:billing                     `*` is every kind
 *   * //acme/*:#                         another namespace; `//*` before the kind is every namespace
 *   admin *                              everything, everywhere
 *
 * A topic filter (a subscription with wildcards) needs a rule that covers all it may match; a deny rule that touches any of
 * it denies it.
 */
import { ADDRESS_KINDS, type Address, isTopicKind } from "../model/address.ts";
import { ACTIONS, type Action } from "./authorizer.ts";

export interface Rule {
  /** null: every action. */
  readonly actions: ReadonlySet<Action> | null;
  /** null: every namespace. */
  readonly namespace: string | null;
  /** null: every kind. */
  readonly kind: string | null;
  readonly levels: readonly string[];
}

export interface RulePeer {
  readonly user: string;
  readonly clientId: string;
}

const PERSONAL = /\$\{(user|clientId)\}/g;
const EVERYTHING = ["#"];

/** The rule, or a sentence that says what is wrong with it. */
export function parseRule(text: string): Rule | string {
  const parts = /^\s*(\S+)\s+(.*\S)\s*$/.exec(text);
  if (parts === null)
    return `rule "${text}": expected actions and a pattern, as in "send queue:orders"`;
  const [, actionText = "", pattern = ""] = parts;
  const names = actionText.split(",");
  const stranger = names.find((name) => name !== "*" && !ACTIONS.includes(name as Action));
  if (stranger !== undefined) {
    return `rule "${text}": "${stranger}" is no action; there are ${ACTIONS.join(", ")} and *`;
  }
  const actions = names.includes("*") ? null : new Set(names as Action[]);
  if (pattern === "*") {
    return { actions, namespace: null, kind: null, levels: EVERYTHING };
  }
  const match = /^(?:\/\/([^/]+)\/)?([a-z*-]+):(.+)$/.exec(pattern);
  if (match === null)
    return `rule "${text}": expected a pattern such as queue:orders or topic:news/#`;
  const [, namespace = "/", kind = "", name = ""] = match;
  if (kind !== "*" && !(ADDRESS_KINDS as readonly string[]).includes(kind)) {
    return `rule "${text}": "${kind}" is no kind; there are ${ADDRESS_KINDS.join(", ")} and *`;
  }
  const levels = name.split("/");
  if (levels.slice(0, -1).some((level) => level.endsWith("#"))) {
    return `rule "${text}": # may only stand at the end`;
  }
  return {
    actions,
    namespace: namespace === "*" ? null : namespace,
    kind: kind === "*" ? null : kind,
    levels,
  };
}

/** Does the rule speak of this request? `part`: it is enough that it speaks of some of what a filter may match. */
export function ruleApplies(
  rule: Rule,
  action: Action,
  address: Address,
  peer: RulePeer,
  extent: "whole" | "part",
): boolean {
  if (rule.actions !== null && !rule.actions.has(action)) return false;
  if (rule.kind !== null && rule.kind !== address.kind) return false;
  if (rule.namespace !== null && rule.namespace !== address.namespace) return false;
  const isFilter = isTopicKind(address.kind) || address.kind === "any";
  const name = address.name.split("/");
  return extent === "whole"
    ? covers(rule.levels, name, isFilter, peer)
    : overlaps(rule.levels, name, isFilter, peer);
}

/** Everything that `name` means is also meant by the pattern. */
function covers(
  pattern: readonly string[],
  name: string[],
  isFilter: boolean,
  peer: RulePeer,
): boolean {
  for (let i = 0; ; i++) {
    const p = pattern[i];
    const n = name[i];
    if (p === "#") return true;
    if (p === undefined || n === undefined) return p === n;
    const isWild = isFilter && (n === "#" || n === "+");
    if (p === "+") {
      if (isFilter && n === "#") return false;
      continue;
    }
    if (isWild) return false;
    const literal = substitute(p, peer);
    if (literal === null) return false;
    if (p.endsWith("#")) return n.startsWith(literal.slice(0, -1));
    if (literal !== n) return false;
  }
}

/** Some name is meant by both. */
function overlaps(
  pattern: readonly string[],
  name: string[],
  isFilter: boolean,
  peer: RulePeer,
): boolean {
  for (let i = 0; ; i++) {
    const p = pattern[i];
    const n = name[i];
    if (p === "#" || (isFilter && n === "#")) return true;
    if (p === undefined || n === undefined) return p === n;
    if (p === "+") continue;
    const literal = substitute(p, peer);
    if (literal === null) return false;
    if (p.endsWith("#")) return (isFilter && n === "+") || n.startsWith(literal.slice(0, -1));
    if (isFilter && n === "+") continue;
    if (literal !== n) return false;
  }
}

/** The level with the peer's own names in it; they stand for themselves, whatever characters they hold. */
function substitute(level: string, peer: RulePeer): string | null {
  let isKnown = true;
  const text = level.replace(PERSONAL, (_, which: string) => {
    const own = which === "user" ? peer.user : peer.clientId;
    if (own === "") isKnown = false;
    return own;
  });
  return isKnown ? text : null;
}
