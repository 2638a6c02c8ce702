/** The crash harness's own rules: each of them must be able to fail. */
import test from "ava";
import { ACK_GRACE_MS, Ledger, type Rule } from "../../interop/harness/ledger.ts";

const RULES: readonly Rule[] = ["lost", "came back", "invented", "disordered"];

function ledgerWith(id: string): Ledger {
  const ledger = new Ledger();
  ledger.addGroup("q");
  ledger.sent(["q"], id);
  return ledger;
}

const brokenRules = (ledger: Ledger): string[] =>
  RULES.filter((rule) => ledger.broken(rule) !== "");

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test("a confirmed message that never came is lost; an unconfirmed one is not", (t) => {
  const ledger = ledgerWith("a");
  ledger.sent(["q"], "b");
  ledger.confirmed(["q"], "a");
  t.is(ledger.owed, 1);
  ledger.close();
  t.deepEqual(brokenRules(ledger), ["lost"]);
  t.regex(ledger.broken("lost"), /1 messages lost: q: a/);
});

test("a message that nobody sent is invented", (t) => {
  const ledger = ledgerWith("a");
  ledger.delivered("q", "x");
  t.deepEqual(brokenRules(ledger), ["invented"]);
});

test("a message may come back after a kill when it was not acknowledged", (t) => {
  const ledger = ledgerWith("a");
  ledger.confirmed(["q"], "a");
  ledger.delivered("q", "a");
  ledger.killed();
  ledger.delivered("q", "a");
  ledger.close();
  t.deepEqual(brokenRules(ledger), []);
  t.is(ledger.redeliveredCount, 1);
});

test("a message whose acknowledgement was confirmed must not come back, however soon the kill", (t) => {
  const ledger = ledgerWith("a");
  ledger.delivered("q", "a");
  ledger.acknowledged("q", "a");
  ledger.acknowledgementConfirmed("q", "a");
  ledger.killed();
  ledger.delivered("q", "a");
  t.deepEqual(brokenRules(ledger), ["came back"]);
});

test("a message acknowledged just before the kill may come back, one acknowledged earlier must not", async (t) => {
  const soon = ledgerWith("a");
  soon.delivered("q", "a");
  soon.acknowledged("q", "a");
  soon.killed();
  await wait(ACK_GRACE_MS + 20);
  soon.restarted();
  soon.killed(); // Only the first kill after it could have undone it.
  soon.delivered("q", "a");
  t.deepEqual(brokenRules(soon), []);

  const late = ledgerWith("a");
  late.delivered("q", "a");
  late.acknowledged("q", "a");
  await wait(ACK_GRACE_MS + 20);
  late.killed();
  late.delivered("q", "a");
  t.deepEqual(brokenRules(late), ["came back"]);
});

test("an acknowledgement written after the kill counts for nothing", (t) => {
  const ledger = ledgerWith("a");
  ledger.delivered("q", "a");
  ledger.killed();
  ledger.acknowledged("q", "a");
  ledger.restarted();
  ledger.delivered("q", "a");
  t.deepEqual(brokenRules(ledger), []);
});

test("an acknowledged message must not come back while the broker lives", (t) => {
  const ledger = ledgerWith("a");
  ledger.killed();
  ledger.restarted();
  ledger.delivered("q", "a");
  ledger.acknowledged("q", "a");
  ledger.delivered("q", "a");
  t.deepEqual(brokenRules(ledger), ["came back"]);
});
