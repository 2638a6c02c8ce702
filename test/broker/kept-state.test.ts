import test from "ava";
import { isSnapshotWorth } from "../../src/broker/kept-state.ts";

const MIB = 1 << 20;
const isWorth = (bytesSinceSnapshot: number, snapshotBytes: number): boolean =>
  isSnapshotWorth({ bytesSinceSnapshot, snapshotBytes });

test("the journal is rewritten when a start would read much of it that amounts to little", (t) => {
  t.false(isWorth(16 * MIB, 0), "too little to save anything");
  t.true(isWorth(16 * MIB + 1, 0));
  t.true(isWorth(16 * MIB + 1, MIB));
  t.false(isWorth(16 * MIB + 1, 2 * MIB), "what it amounts to is an eighth of it");
  t.true(isWorth(32 * MIB + 1, 2 * MIB));
  t.false(isWorth(64 * MIB, 100 * MIB));
  t.true(isWorth(64 * MIB + 1, 100 * MIB), "whatever it amounts to");
});
