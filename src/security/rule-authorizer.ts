/**
 * Permissions by the rules of the user store: a deny rule wins, what no rule allows is denied. Peers of an open loopback
 * may do everything.
 */
import type { Address } from "../model/address.ts";
import { printAddress } from "../model/address.ts";
import type { Action, Authorizer, Permissions } from "./authorizer.ts";
import type { LoopbackPolicy } from "./loopback.ts";
import type { PeerInfo } from "./peer.ts";
import type { Principal } from "./principal.ts";
import { parseRule, type Rule, type RulePeer, ruleApplies } from "./rules.ts";
import type { UserStore } from "./users.ts";

const CACHED_ANSWERS_MAX = 4096;

export class RuleAuthorizer implements Authorizer {
  readonly #users: UserStore;
  readonly #loopback: LoopbackPolicy;
  /** Parsed rules by user, of one generation of the store. */
  readonly #parsed = new Map<string, ParsedRules>();
  #generation = -1;

  #tokenRules: ParsedRules;
  /** Grows with every change of the rules for tokens. */
  #changes = 0;

  /** `tokenRules`: what users of tokens may do that have no record of their own. */
  constructor(users: UserStore, loopback: LoopbackPolicy, tokenRules: readonly string[] = []) {
    this.#users = users;
    this.#loopback = loopback;
    this.#tokenRules = { allow: parseAll(tokenRules), deny: [] };
  }

  /** Other rules for users of tokens. */
  setTokenRules(rules: readonly string[]): void {
    this.#tokenRules = { allow: parseAll(rules), deny: [] };
    this.#changes++;
  }

  permissionsFor(principal: Principal, clientId: string, peer: PeerInfo): Permissions {
    const isByToken = principal.expiresAt !== undefined;
    return new RulePermissions(
      { user: principal.name, clientId },
      () => this.generation,
      () => this.#rulesOf(principal.name, isByToken),
      () => this.#loopback.isOpenFor(principal, peer),
    );
  }

  get generation(): number {
    return this.#users.generation + this.#changes;
  }

  #rulesOf(user: string, isByToken: boolean): ParsedRules {
    if (isByToken && this.#users.find(user) === undefined) return this.#tokenRules;
    if (this.#generation !== this.#users.generation) {
      this.#generation = this.#users.generation;
      this.#parsed.clear();
    }
    let rules = this.#parsed.get(user);
    if (rules === undefined) {
      const record = this.#users.find(user);
      rules = { allow: parseAll(record?.allow ?? []), deny: parseAll(record?.deny ?? []) };
      this.#parsed.set(user, rules);
    }
    return rules;
  }
}

interface ParsedRules {
  readonly allow: readonly Rule[];
  readonly deny: readonly Rule[];
}

const parseAll = (rules: readonly string[]): Rule[] =>
  rules.map(parseRule).filter((rule): rule is Rule => typeof rule !== "string");

class RulePermissions implements Permissions {
  readonly #peer: RulePeer;
  readonly #generation: () => number;
  readonly #rules: () => ParsedRules;
  readonly #isOpen: () => boolean;
  readonly #answers = new Map<string, boolean>();
  #answersOf = -1;

  constructor(
    peer: RulePeer,
    generation: () => number,
    rules: () => ParsedRules,
    isOpen: () => boolean,
  ) {
    this.#peer = peer;
    this.#generation = generation;
    this.#rules = rules;
    this.#isOpen = isOpen;
  }

  get generation(): number {
    return this.#generation();
  }

  allows(action: Action, address: Address): boolean {
    if (this.#isOpen()) return true;
    if (this.#answersOf !== this.generation || this.#answers.size >= CACHED_ANSWERS_MAX) {
      this.#answers.clear();
      this.#answersOf = this.generation;
    }
    const key = `${action} ${printAddress(address)}`;
    let answer = this.#answers.get(key);
    if (answer === undefined) {
      answer = this.#decide(action, address);
      this.#answers.set(key, answer);
    }
    return answer;
  }

  #decide(action: Action, address: Address): boolean {
    const rules = this.#rules();
    const isDenied = rules.deny.some((rule) =>
      ruleApplies(rule, action, address, this.#peer, "part"),
    );
    if (isDenied) return false;
    return rules.allow.some((rule) => ruleApplies(rule, action, address, this.#peer, "whole"));
  }
}
