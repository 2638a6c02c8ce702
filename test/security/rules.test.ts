// biome-ignore-all lint/suspicious/noTemplateCurlyInString: rules are written so.
import test from "ava";
import { makeAddress } from "../../src/model/address.ts";
import type { Action } from "../../src/security/authorizer.ts";
import { LoopbackPolicy } from "../../src/security/loopback.ts";
import type { PeerInfo } from "../../src/security/peer.ts";
import { ANONYMOUS } from "../../src/security/principal.ts";
import { RuleAuthorizer } from "../../src/security/rule-authorizer.ts";
import { parseRule } from "../../src/security/rules.ts";
import type { UserRecord, UserStore } from "../../src/security/users.ts";

const remote: PeerInfo = {
  remoteAddress: "10.0.0.9",
  remotePort: 1,
  listener: "main",
  isLoopback: false,
  isTls: true,
  certificate: null,
};
const local: PeerInfo = { ...remote, remoteAddress: "127.0.0.1", isLoopback: true };

function store(allow: string[], deny: string[] = []): UserStore & { generation: number } {
  const user: UserRecord = { name: "ann", password: "", scram: {}, allow, deny };
  return { size: 1, generation: 1, find: (name) => (name === "ann" ? user : undefined) };
}

function may(allow: string[], deny: string[], request: string, clientId = "c1"): boolean {
  const [action = "", kind = "", name = "", namespace = "/"] = request.split(" ");
  const users = store(allow, deny);
  const authorizer = new RuleAuthorizer(users, new LoopbackPolicy("auto", users));
  return authorizer
    .permissionsFor({ name: "ann", isAnonymous: false, mechanism: "PLAIN" }, clientId, remote)
    .allows(action as Action, makeAddress(kind as "queue", name, { namespace }));
}

const CASES: ReadonlyArray<[string[], string[], string, boolean]> = [
  [["send queue:orders"], [], "send queue orders", true],
  [["send queue:orders"], [], "send topic orders", false],
  [["send queue:orders"], [], "receive queue orders", false],
  [["send queue:orders"], [], "send queue orders/eu", false],
  [["send queue:orders"], [], "send queue orders acme", false],
  [["send,receive //acme/queue:#"], [], "receive queue orders acme", true],
  [["* //*/*:#"], [], "bind exchange e acme", true],
  [["* *"], [], "admin any x acme", true],
  [["* *:#"], [], "send queue a/b/c", true],
  [["send queue:orders.#"], [], "send queue orders.eu", true],
  [["send queue:orders.#"], [], "send queue orders", false],
  [["send queue:a/#"], [], "send queue a", true],
  [["send topic:+/b"], [], "send topic a/b", true],
  [["send topic:+/b"], [], "send topic a/c/b", false],
  [["receive topic:a/#"], [], "receive topic a/#", true],
  [["receive topic:a/#"], [], "receive topic a/+/x", true],
  [["receive topic:a/+"], [], "receive topic a/#", false],
  [["receive topic:a/+"], [], "receive topic a/+", true],
  [["receive topic:a/b"], [], "receive topic a/+", false],
  [["receive topic:#"], ["receive topic:secret/#"], "receive topic #", false],
  [["receive topic:#"], ["receive topic:secret/#"], "receive topic +/x", false],
  [["receive topic:#"], ["receive topic:secret/#"], "receive topic news/#", true],
  [["receive topic:#"], ["receive topic:secret/#"], "receive topic secret", false],
  [["receive topic:#"], ["receive topic:a/b"], "receive topic a/+/c", true],
  [["* queue:${user}/#"], [], "send queue ann/x", true],
  [["* queue:${user}/#"], [], "send queue bob/x", false],
  [["* queue:in-${clientId}"], [], "receive queue in-c1", true],
  [[], [], "send queue orders", false],
];

for (const [allow, deny, request, expected] of CASES) {
  const rules = [...allow, ...deny.map((rule) => `not ${rule}`)].join("; ") || "no rule";
  test(`${rules}: ${request} is ${expected ? "allowed" : "denied"}`, (t) => {
    t.is(may(allow, deny, request), expected);
  });
}

test("a client id cannot be a wildcard, nor stand for nothing", (t) => {
  t.false(may(["* topic:${clientId}/x"], [], "send topic a/x", "+"));
  t.false(may(["* topic:${clientId}"], [], "send topic a/x", "#"));
  t.false(may(["* topic:x${clientId}"], [], "send topic x", ""));
});

test("rules that cannot be read say what is wrong", (t) => {
  t.regex(parseRule("send") as string, /expected actions and a pattern/);
  t.regex(parseRule("write queue:a") as string, /"write" is no action; there are create, delete/);
  t.regex(parseRule("send quue:a") as string, /"quue" is no kind; there are queue, topic/);
  t.regex(parseRule("send a#b") as string, /expected a pattern such as/);
  t.regex(parseRule("send topic:#/a") as string, /# may only stand at the end/);
});

test("the loopback is open until the first user exists, also for connections that are there already", (t) => {
  const users = { size: 0, generation: 1, find: () => undefined };
  const authorizer = new RuleAuthorizer(users, new LoopbackPolicy("auto", users));
  const here = authorizer.permissionsFor(ANONYMOUS, "", local);
  const there = authorizer.permissionsFor(ANONYMOUS, "", remote);
  const queue = makeAddress("queue", "q");
  t.true(here.allows("send", queue));
  t.false(there.allows("send", queue));
  users.size = 1;
  users.generation = 2;
  t.is(here.generation, 2);
  t.false(here.allows("send", queue));
});

test("changed rules void earlier answers", (t) => {
  const allow = ["send queue:q"];
  const users = store(allow);
  const authorizer = new RuleAuthorizer(users, new LoopbackPolicy("auto", users));
  const ann = authorizer.permissionsFor(
    { name: "ann", isAnonymous: false, mechanism: "PLAIN" },
    "",
    remote,
  );
  t.true(ann.allows("send", makeAddress("queue", "q")));
  allow.length = 0;
  t.true(ann.allows("send", makeAddress("queue", "q")));
  users.generation++;
  t.false(ann.allows("send", makeAddress("queue", "q")));
});
