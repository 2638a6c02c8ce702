/** Runs simulations of the broker by hand: `node dist/test/sim/run-broker.js memory|log [FIRST [COUNT]]`. One seed is told step by step. */
import { type EngineKind, simulateBroker } from "./broker-engines.ts";

const kind = (process.argv[2] ?? "memory") as EngineKind;
const first = Number(process.argv[3] ?? 1);
const count = Number(process.argv[4] ?? 1);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
let failed = 0;
let delivered = 0;
const began = performance.now();
for (let seed = first; seed < first + count; seed++) {
  try {
    delivered += (await simulateBroker(seed, kind, count === 1 ? say : null)).delivered;
  } catch (error) {
    failed++;
    say(count === 1 ? String(error) : String(error).split("\n")[0]!);
  }
}
const ms = (performance.now() - began) / count;
say(`${count} seeds, ${failed} failed, ${delivered} deliveries, ${ms.toFixed(2)} ms each`);
process.exitCode = failed === 0 ? 0 : 1;
